"""Residuals of texts that pass through vLLM's workers: kept as means and norms over spans, or token by token.

A text is a request of one token more than is wanted. What it asks for is in its `extra_args`, and what was found is
fetched under its key. Knows nothing of vLLM.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch

CAPTURE = "persona_capture"  # in a request's extra_args


class CaptureOrder(msgspec.Struct):
    """Of one text: spans of its tokens, [first, one after the last]. With `whole` every token's residual is kept, at
    these blocks, else means at these blocks, and all tokens' norms."""

    key: int
    spans: list[tuple[int, int]]
    blocks: list[int]
    whole: bool = False


class Found(msgspec.Struct):
    """float32 as bytes, in the order that was asked for: `values` [n_spans, n_blocks, hidden], `norms` the medians
    [n_spans, n_blocks]. Of the whole, `values` [n_tokens of all spans, n_blocks, hidden]."""

    values: bytes
    norms: bytes


class _Capture:
    def __init__(self, wanted: CaptureOrder, hidden: int) -> None:
        self.wanted = wanted
        n_tokens = [end - begin for begin, end in wanted.spans]
        n_blocks = len(wanted.blocks)
        self._norms = [np.zeros((n_blocks, n), np.float32) for n in n_tokens]
        shape = (sum(n_tokens), n_blocks, hidden) if wanted.whole else (len(n_tokens), n_blocks, hidden)
        self._values = np.zeros(shape, np.float32)

    def take(self, block: int, start: int, hidden: torch.Tensor) -> None:
        """A block's output for the tokens from `start` on, float32[n_tokens, hidden]."""
        if block not in self.wanted.blocks:
            return
        at, before = self.wanted.blocks.index(block), 0
        for number, (begin, end) in enumerate(self.wanted.spans):
            first, last = max(begin, start), min(end, start + len(hidden))
            if first < last:
                mine = hidden[first - start : last - start]
                if self.wanted.whole:
                    self._values[before + first - begin : before + last - begin, at] = mine.cpu().numpy()
                else:
                    self._values[number, at] += mine.sum(dim=0).cpu().numpy() / (end - begin)
                    self._norms[number][at, first - begin : last - begin] = mine.norm(dim=-1).cpu().numpy()
            before += end - begin

    def result(self) -> Found:
        medians = [np.median(norms, axis=-1) if norms.shape[1] else np.zeros(len(norms)) for norms in self._norms]
        return Found(self._values.tobytes(), np.array(medians, np.float32).tobytes())


class Captures:
    """All texts that one worker keeps something of. `hidden` is the residual's size."""

    def __init__(self, hidden: int) -> None:
        self._hidden = hidden
        self._all: dict[str, _Capture] = {}
        self._found: dict[int, Found] = {}
        self._now: list[tuple[_Capture, int, int, int]] = []  # with the first row, the one after the last, the position

    @property
    def busy(self) -> bool:
        """Whether this step has tokens that are kept."""
        return bool(self._now)

    def add(self, name: str, extra: Mapping[str, Any] | None) -> None:
        """A request comes."""
        if extra is not None and CAPTURE in extra:
            self._all[name] = _Capture(msgspec.json.decode(extra[CAPTURE], type=CaptureOrder), self._hidden)

    def drop(self, names: Iterable[str]) -> None:
        """Requests have ended."""
        for name in names:
            self._all.pop(name, None)

    def begin(self, names: Sequence[str], counts: Sequence[int], starts: Sequence[int]) -> None:
        """A step begins: so many tokens of each request, from a position on, in this order."""
        self._now, row = [], 0
        for name, count, start in zip(names, counts, starts, strict=True):
            if self._all and name in self._all:
                self._now.append((self._all[name], row, row + count, start))
            row += count

    def take(self, block: int, hidden: torch.Tensor) -> None:
        """A block's output, float32[n_rows, hidden]."""
        for capture, first, last, start in self._now:
            capture.take(block, start, hidden[first:last])

    def end(self) -> None:
        """The step is over. What is complete may be fetched: a text is, once its last token was run."""
        for capture, first, last, start in self._now:
            if start + last - first >= max((end for _, end in capture.wanted.spans), default=0):
                self._found[capture.wanted.key] = capture.result()
        self._now = []

    def fetch(self, key: int) -> Found:
        """What was found of a text, once."""
        return self._found.pop(key)

"""Reading residuals at the output of every block, or of some, from many texts. Nothing is steered here.

Each function is a generator that runs one forward between two yields, so that the worker can let chats go on in
between, and returns its result at the end.
"""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch

from proxy.engines.base import FloatArray, Rollout, Span, SpanStats
from proxy.engines.spans import bounds
from proxy.engines.transformers.chunks import Chunk, chunks
from proxy.engines.transformers.runner import ModelRunner


def capture_steps(
    runner: ModelRunner, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None
) -> Generator[None, None, dict[Span, SpanStats]]:
    """Engine.capture in steps."""
    shape = (len(rollouts), runner.n_layers)
    found = {
        span: SpanStats(np.zeros((*shape, runner.hidden_size), np.float32), np.zeros(shape, np.float32))
        for span in spans
    }
    readers: dict[Span, SpanReader] = {}
    for chunk in chunks(runner, _texts(rollouts)):
        if chunk.start == 0:
            readers = {span: SpanReader(runner, [rollouts[m] for m in chunk.members], span) for span in spans}
        _read(runner, chunk, readers)
        if chunk.last:
            for span, reader in readers.items():
                found[span].means[chunk.members], found[span].norms[chunk.members] = reader.result()
            if progress is not None:
                progress(len(chunk.members))
        yield
    return found


def _read(runner: ModelRunner, chunk: Chunk, readers: "dict[Span, SpanReader]") -> None:
    def read(block: int, hidden: torch.Tensor) -> None:
        hidden = hidden.float()
        norms = hidden.norm(dim=-1)
        for reader in readers.values():
            reader.add(block, chunk.start, hidden, norms)

    runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, reader=read)


class SpanReader:
    """One span's statistics of one batch, gathered block by block and chunk by chunk."""

    def __init__(self, runner: ModelRunner, batch: Sequence[Rollout], span: Span) -> None:
        self._bounds = [bounds(rollout, span) for rollout in batch]
        width = max(len(rollout.prompt) + len(rollout.response) for rollout in batch)
        weights = np.zeros((len(batch), width), np.float32)
        for row, (begin, end) in enumerate(self._bounds):
            weights[row, begin:end] = 1 / max(end - begin, 1)
        self._weights = torch.from_numpy(weights).to(runner.device)
        self._means = torch.zeros((len(batch), runner.n_layers, runner.hidden_size), device=runner.device)
        self._norms = torch.zeros((len(batch), runner.n_layers, width), device=runner.device)

    def add(self, block: int, start: int, hidden: torch.Tensor, norms: torch.Tensor) -> None:
        """A block's output, float32[n_rows, n_tokens, hidden], for the tokens from `start` on, and its norms."""
        end = start + hidden.shape[1]
        self._means[:, block] += torch.einsum("nt,nth->nh", self._weights[:, start:end], hidden)
        self._norms[:, block, start:end] = norms

    def result(self) -> tuple[FloatArray, FloatArray]:
        """Means [n_rows, n_layers, hidden] and median norms [n_rows, n_layers]; zeros where the span is empty."""
        norms = self._norms.cpu().numpy()
        medians = np.zeros(norms.shape[:2], np.float32)
        for row, (begin, end) in enumerate(self._bounds):
            if end > begin:
                medians[row] = np.median(norms[row, :, begin:end], axis=-1)
        return self._means.cpu().numpy(), medians


def capture_token_steps(
    runner: ModelRunner, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]
) -> Generator[None, None, list[FloatArray]]:
    """Engine.capture_tokens in steps."""
    spans = [bounds(rollout, span) for rollout in rollouts]
    found = [np.zeros((end - begin, len(blocks), runner.hidden_size), np.float32) for begin, end in spans]
    for chunk in chunks(runner, _texts(rollouts)):

        def read(block: int, hidden: torch.Tensor, chunk: Chunk = chunk) -> None:
            if block not in blocks:
                return
            for row, member in enumerate(chunk.members):
                begin, end = spans[member]
                first, last = max(begin, chunk.start), min(end, chunk.start + len(chunk.rows[row]))
                if first < last:
                    piece = hidden[row, first - chunk.start : last - chunk.start].float().cpu().numpy()
                    found[member][first - begin : last - begin, blocks.index(block)] = piece

        runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, reader=read)
        yield
    return found


def _texts(rollouts: Sequence[Rollout]) -> list[list[int]]:
    return [[*rollout.prompt, *rollout.response] for rollout in rollouts]

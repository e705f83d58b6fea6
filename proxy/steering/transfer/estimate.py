"""What fitting a transfer will take: memory and disk from the shapes of the models, time from a few documents.

Knows the steps of a fit and what each of them holds; chooses nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from proxy.engines.base import Engine, Generation, Sampling
from proxy.engines.blocking import generate_all
from proxy.steering.asking import answer_tokens
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.transfer.blocks import (
    N_SHUFFLED,
    SAMPLE,
    SUMS_MEMORY,
    n_compared,
    read_once,
    row_size,
    sums_size,
)
from proxy.steering.transfer.fit import TEMPERATURE, Corpus, blocks_of, check, pairs_needed
from proxy.steering.transfer.moments import FOLDS
from proxy.steering.transfer.pairs import MEMORY, Document, Stream, prompt
from vector_store import SPANS

T = TypeVar("T")

TRIED = 16  # documents that are timed
WIDTH = 1024  # of the matrices whose product is timed


@dataclass(frozen=True)
class FittingSize:
    """How large a fit is: `n_blocks` maps for each span, from width `d` of a model of so many layers to width `p`."""

    d: int
    p: int
    source_layers: int
    n_blocks: int

    @property
    def passes(self) -> int:
        """How often the text is read."""
        return -(-self.n_blocks // self._at_once)

    @property
    def memory(self) -> int:
        """Bytes, beyond the models."""
        d, p = self.d, self.p
        sample = 4 * SAMPLE * (self.source_layers * d + self.n_blocks * p)
        sums = min(self._at_once, self.n_blocks) * sums_size(d, p) + 4 * (5 * d * d + 4 * d * p + 3 * p * p)
        return max(sample, sums) + MEMORY

    @property
    def disk(self) -> int:
        """Bytes of the maps and their controls."""
        return 4 * len(SPANS) * self.n_blocks * (1 + N_SHUFFLED) * self.d * self.p

    @property
    def _at_once(self) -> int:
        return max(1, SUMS_MEMORY // sums_size(self.d, self.p))


def fitting_seconds(size: FittingSize) -> float:
    """How long fitting takes once the text is read, by a product of matrices that is timed. Blocks for a moment."""
    return len(SPANS) * size.n_blocks * _operations(size.d, size.p) * _timed(_product)[0] / (2 * WIDTH**3)


def estimated_lines(
    source: Engine, target: Engine, corpus: Corpus, target_blocks: Sequence[int] | None = None
) -> Iterator[str]:
    """The estimate in words. Blocks while a few documents are answered and read. SetupError as `fit` raises it before
    it begins."""
    check(source, target, corpus, target_blocks)
    d, p = source.info.hidden_size, target.info.hidden_size
    blocks, n = blocks_of(target.info, target_blocks), len(corpus.documents)
    size = FittingSize(d, p, source.info.n_layers, len(blocks))
    over = f"in {_count(size.passes, 'pass', 'passes')} over the text"
    yield f"{n} documents; {len(blocks)} maps for each span, from width {d} to {p}, {over}"
    few = list(corpus.documents[:TRIED])
    missing = sum(document.answer is None for document in corpus.documents)
    answering_s, texts = (
        _timed(lambda: _answers(source, few, corpus.seed, corpus.answer_tokens))
        if missing
        else (0.0, [d.answer or "" for d in few])
    )
    few = [replace(document, answer=text) for document, text in zip(few, texts, strict=True)]
    reading_s, kept = 0.0, 0
    row = row_size(d, source.info.n_layers, p, len(blocks))
    for span in SPANS:
        stream = Stream(source, target, few, span, lambda: None)
        n_pairs = n * stream.count() / len(few)
        if n_pairs < pairs_needed(source.info, target.info):
            continue  # no map of it will be fitted
        comparing_s, _ = _timed(partial(_read, stream, range(source.info.n_layers), blocks))
        reading_s += comparing_s * min(n, n_compared(span)) / len(few)
        if read_once(span, n, n_pairs, row):
            kept = max(kept, round(n_pairs * row))
            continue
        passing_s, _ = _timed(partial(_read, stream, [0], [0]))
        reading_s += passing_s * size.passes * n / len(few)
    yield f"memory beyond the models: {(size.memory + kept) / 2**30:.1f} GiB; on disk {size.disk / 2**30:.1f} GiB"
    for what, seconds in (
        ("answers of the source", answering_s * missing / len(few)),
        ("reading residuals of both", reading_s),
        ("fitting the maps", fitting_seconds(size)),
    ):
        yield f"{what}: about {_count(round(seconds / 60), 'minute', 'minutes')}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _answers(source: Engine, documents: Sequence[Document], seed: int, longest: int) -> list[str]:
    prompts = [prompt(source, document) for document in documents]
    limits = [answer_tokens(source, ids, longest) for ids in prompts]
    drawn = [
        Sampling(limit, temperature=TEMPERATURE, seed=seed_of(seed, Purpose.TRANSFER_TEXT, number))
        for number, limit in enumerate(limits)
    ]
    made = generate_all(source, [Generation(ids, how) for ids, how in zip(prompts, drawn, strict=True)])
    return [completion.text or "." for completion in made]


def _read(stream: Stream, source_blocks: Sequence[int], target_blocks: Sequence[int]) -> int:
    return sum(1 for _ in stream.read(source_blocks, target_blocks))


def _operations(d: int, p: int) -> float:
    """Floating-point operations that fitting one map from width d to width p takes: the decompositions and products of
    each fold and of the whole, additions and all."""
    return (FOLDS + 1) * (9 * d**3 + 18 * p**3 + 4 * d**3 + 12 * d * d * p + 8 * d * p * p)


def _product() -> None:
    matrix = np.ones((WIDTH, WIDTH), np.float32)
    matrix @ matrix


def _timed(do: Callable[[], T]) -> tuple[float, T]:
    """How many seconds it takes, and what comes of it."""
    began = time.perf_counter()
    result = do()
    return time.perf_counter() - began, result

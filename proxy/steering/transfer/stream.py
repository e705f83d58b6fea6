"""Paired residuals of two models, document by document, as many at a time as a bounded memory holds.

Knows engines and pairings; nothing of what the residuals are for.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.engines.base import Engine, FloatArray, Span
from proxy.steering.transfer.normal import FOLDS
from proxy.steering.transfer.pairs import Document, Pairing, pair

AT_ONCE = 32  # documents that go through a model together
KEPT = 4096  # pairings, of about ten kilobytes each
MEMORY = 128 * 1024 * 1024  # bytes of residuals that are read at once


@dataclass(frozen=True)
class Paired:
    """One document's paired residuals, float32[n, source blocks, d] and float32[n, target blocks, p]."""

    number: int  # of the document
    source: FloatArray
    target: FloatArray


@dataclass(frozen=True)
class Stream:
    """The residuals of `documents` at some blocks of both models. `check` is called now and then; what it raises ends
    the reading. `kept`: pairings of the first documents, since text is read several times."""

    source: Engine
    target: Engine
    documents: Sequence[Document]
    span: Span
    check: Callable[[], None]
    kept: dict[int, Pairing | None] = field(default_factory=dict)

    def read(self, source_blocks: Sequence[int], target_blocks: Sequence[int]) -> Iterator[Paired]:
        """Those of every document that has pairs, in order. Blocks for minutes on large models."""
        width = len(source_blocks) * self.source.info.hidden_size, len(target_blocks) * self.target.info.hidden_size
        waiting: list[tuple[int, Pairing]] = []
        size = 0
        for number, pairing in self.pairings():
            mine = 4 * (_n_rows(pairing.source.response) * width[0] + _n_rows(pairing.target.response) * width[1])
            if waiting and (size + mine > MEMORY or len(waiting) == AT_ONCE):
                yield from self._capture(waiting, source_blocks, target_blocks)
                waiting, size = [], 0
            waiting.append((number, pairing))
            size += mine
        if waiting:
            yield from self._capture(waiting, source_blocks, target_blocks)

    def pairings(self) -> Iterator[tuple[int, Pairing]]:
        """Every document that has pairs, by number."""
        for number in range(len(self.documents)):
            self.check()
            pairing = self._pairing(number)
            if pairing is not None:
                yield number, pairing

    def _pairing(self, number: int) -> Pairing | None:
        if number in self.kept:
            return self.kept[number]
        pairing = pair(self.source, self.target, self.documents[number], self.span)
        if len(self.kept) < KEPT:
            self.kept[number] = pairing
        return pairing

    def count(self) -> int:
        """How many tokens are paired, in all. No model runs for it."""
        if self.span == "last_prompt":
            return len(self.documents)
        return sum(len(pairing.source_rows) for _, pairing in self.pairings())

    def _capture(
        self, some: Sequence[tuple[int, Pairing]], source_blocks: Sequence[int], target_blocks: Sequence[int]
    ) -> Iterator[Paired]:
        self.check()
        sources = self.source.capture_tokens([pairing.source for _, pairing in some], self.span, source_blocks)
        self.check()
        targets = self.target.capture_tokens([pairing.target for _, pairing in some], self.span, target_blocks)
        for (number, pairing), source, target in zip(some, sources, targets, strict=True):
            yield Paired(number, source[pairing.source_rows], target[pairing.target_rows])


def fold_of(document: Document) -> int:
    """Documents under the same system prompt are in the same fold, so that what is held out is another personality."""
    return zlib.crc32((document.system or document.question).encode()) % FOLDS


def _n_rows(response: Sequence[int]) -> int:
    return max(len(response), 1)

"""Which tokens of two models belong together, those after which the same text has been read, and their residuals.

A document is one question and its answer. Each model reads it in its own chat template and tokenizer; tokens of the
answer are paired where they end at the same character, and the last prompt token of one is that of the other. Paired
residuals are read document by document, as many at a time as a bounded memory holds. Knows nothing of what they are
for.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.engines.base import Engine, FloatArray, Rollout, Span
from proxy.steering.asking import messages
from proxy.steering.transfer.moments import FOLDS


@dataclass(frozen=True)
class Document:
    """A question under a system prompt or none. `answer` is what both models read after it; None: still to be made."""

    system: str | None
    question: str
    answer: str | None = None


@dataclass(frozen=True)
class ReadDocument:
    """A document as one model reads it. `ends`: by the character of the answer at which a token ends, counted from its
    beginning, that token's index in the rollout's response. Tokens that end inside a character, the answer's first one
    and those of the template are not in it."""

    rollout: Rollout
    ends: dict[int, int]


@dataclass(frozen=True)
class Pairing:
    """A document as both models read it; `source_rows` and `target_rows` are the paired tokens, as indices in the
    responses of the two rollouts, of equal length."""

    source: Rollout
    target: Rollout
    source_rows: list[int]
    target_rows: list[int]


def prompt(engine: Engine, document: Document) -> list[int]:
    """The token ids up to the place where the answer begins."""
    return engine.render(messages(document.system, document.question))


def read(engine: Engine, document: Document) -> ReadDocument | None:
    """The document with its answer as this model reads it; None where it is too long, and where the template does not
    keep the answer as it is."""
    text = (document.answer or "").strip()
    asked = messages(document.system, document.question)
    whole = engine.render([*asked, {"role": "assistant", "content": text}])
    begin = _common_length(engine.render(asked), whole)
    response = whole[begin:]
    ends = _ends(engine.pieces(response), text)
    if not begin or not ends:
        return None
    response = response[: max(ends.values()) + 1]
    if begin + len(response) > engine.info.context_length:
        return None
    return ReadDocument(Rollout(whole[:begin], response), ends)


def pair(source: Engine, target: Engine, document: Document, span: Span) -> Pairing | None:
    """The document's paired tokens; None where there are none. For the span of the last prompt token there is one row,
    0."""
    if span == "last_prompt":
        return Pairing(Rollout(prompt(source, document)), Rollout(prompt(target, document)), [0], [0])
    one, other = read(source, document), read(target, document)
    if one is None or other is None:
        return None
    common = sorted(one.ends.keys() & other.ends.keys())
    if not common:
        return None
    return Pairing(one.rollout, other.rollout, [one.ends[end] for end in common], [other.ends[end] for end in common])


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    length = min(len(one), len(other))
    return next((at for at in range(length) if one[at] != other[at]), length)


def _ends(pieces: Sequence[str], text: str) -> dict[int, int]:
    """By the character of the answer `text` at which a token ends, that token's index. `pieces` is what each token
    adds, with the template's own text around `text`; tokens of the template, the answer's first one and tokens that end
    inside a character are left out."""
    begin = "".join(pieces).find(text)
    found: dict[int, int] = {}
    at = 0
    for index, piece in enumerate(pieces):
        start, at = at, at + len(piece)
        if piece and begin <= start and at <= begin + len(text):
            found[at - begin] = index
    found.pop(min(found, default=0), None)  # the first one follows the template, not the text
    return found if begin >= 0 else {}


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
        """The paired residuals of every document that has pairs, in order. Blocks for minutes on large models."""
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
        """Every document that has pairs, by its number."""
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

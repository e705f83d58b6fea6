"""Which tokens of two models belong together: those after which the same text has been read.

A document is one question and its answer. Each model reads it in its own chat template and tokenizer; tokens of the
answer are paired where they end at the same character, and the last prompt token of one is that of the other. Knows
nothing of residuals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engines.base import Engine, Rollout, Span
from proxy.steering.asking import messages


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
    """The document's paired tokens; None where there are none. The last prompt token is row 0 of that span."""
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
    """See Reading. `pieces` is what each token adds, with the template's own text around `text`."""
    begin = "".join(pieces).find(text)
    found: dict[int, int] = {}
    at = 0
    for index, piece in enumerate(pieces):
        start, at = at, at + len(piece)
        if piece and begin <= start and at <= begin + len(text):
            found[at - begin] = index
    found.pop(min(found, default=0), None)  # the first one follows the template, not the text
    return found if begin >= 0 else {}

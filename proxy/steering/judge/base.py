"""What a judge is: it is shown a question and an answer, never a coefficient, a vector or how the answer was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import SetupError
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Codec, packed
from vector_store import Side

MIN_SCORED = 0.5  # share of some answers that the judge must be able to score: below it its scores of them say nothing
MIN_AUROC = 0.9  # between held-out answers of opposite poles: below it the judge's scores are not shown
MIN_OF_A_POLE = 0.75  # AUROC of the score for one pole alone: below it the judge is blind to that pole


@dataclass(frozen=True)
class Answer:
    """An answer to be judged for one side of a trait."""

    question: str
    text: str
    trait: Trait
    side: Side


@dataclass(frozen=True)
class Score:
    """What an answer is worth. `trait`: how much of the pole it shows. `coherence`: whether it makes sense. Both from 0
    to 100."""

    trait: float
    coherence: float


SCORES: Codec[list[Score | None]] = packed(list[Score | None])


class Judge(Protocol):
    """Scores answers."""

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """One score for each answer, in order; None for an answer that could not be scored. Blocks."""


class NamedJudge(Judge, Protocol):
    """A judge that can be told of."""

    @property
    def name(self) -> str:
        """The judge's name in words, for a person."""


JudgeKind = str | NamedJudge  # one of JUDGE_KINDS, or a judge that is there already


def name_of(kind: JudgeKind) -> str:
    """A judge's name before it is made."""
    return kind if isinstance(kind, str) else kind.name


def check_judged(scores: Sequence[Score | None], name: str) -> None:
    """SetupError where the judge of this name could score less than half of the answers. Only a language model that is
    asked for a digit leaves any unscored."""
    n_scored = sum(score is not None for score in scores)
    if n_scored < MIN_SCORED * len(scores):
        raise SetupError(
            f"{name} can't judge: it had a score for only {n_scored} of {len(scores)} answers, the others are unscored "
            "as it was not about to reply with the digit it was asked for. Let another judge: rules where the "
            "model is of a world that has them, else likelihood"
        )

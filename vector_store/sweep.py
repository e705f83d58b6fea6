"""A pole's measured curve: what steering does over a range of coefficients, beside its controls.

Knows numbers only: no model, no file, and nothing of how they were measured.
"""

from dataclasses import dataclass, field
from typing import Literal

from vector_store.judged import JudgedBy

SweepKind = Literal["steered", "random", "wrong_trait", "unsteered", "prompt"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A mean, and the ends of its 95 % interval had other questions been asked. No width means that all agreed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """`n` answers made in one way.

    `kind`: the pole's own direction ("steered"), random directions of the same dose ("random"), those of other traits
    ("wrong_trait"), no steering, or the pole asked for by a system prompt; the coefficient and dose of the last two are
    0. `trait` and `coherence` are from 0 to 100, `score` is the mean of their product, 0 to 1. `wrong_way` is the share
    of answers that show less of the pole than the same question's unsteered answers do, `correct` of those that state
    the fact asked for and state it right, `unfinished` of those that were cut off or went round in circles, `looping`
    of those that went round in circles, all 0 to 1. None is what could not be measured, or was not yet when the vector
    was made.
    """

    kind: SweepKind
    coefficient: float
    relative_dose: float
    trait: Measured | None
    coherence: Measured | None
    wrong_way: Measured | None
    correct: Measured | None
    score: float | None
    n: int
    unfinished: Measured | None = None
    looping: Measured | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One pole's sweep. All coefficients are in the units the vector has since, after the sweep's own calibration.

    `points` come from questions nothing was chosen on, `chosen_on` are the ones the strength was chosen by. `judge`
    scored them. Going up from 0, answers hold together up to `coherent_to` and no longer at `collapse`, None where they
    do at the largest one tried.
    `factor` is what the relative dose of coefficient 1 was multiplied by, None where it was left as it was; `verdict`
    says why, in words. `wrong_traits` are the poles of other traits whose directions stand beside it as a control,
    empty where the model had none to compare with.
    """

    points: list[SweepPoint]
    chosen_on: list[SweepPoint]
    judge: JudgedBy
    coherent_to: float
    collapse: float | None
    factor: float | None
    verdict: str
    seed: int
    wrong_traits: list[str] = field(default_factory=list)

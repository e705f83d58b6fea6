"""Whether a judge can be believed: how well it tells held-out answers of opposite poles apart, and sense from damage.

Knows nothing of how judges score.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray
from proxy.steering.judge.base import MIN_AUROC, MIN_OF_A_POLE, SCORES, Answer, Judge, NamedJudge, check_judged
from proxy.steering.judge.rollouts import LabelledAnswer
from proxy.steering.statistics import auroc
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import SIDES, JudgedBy
from vector_store.store import slug

N_DAMAGED = 20  # answers whose words are shuffled, and as many that go round in circles
MIN_WORDS = 4  # of an answer that can be damaged


@dataclass(frozen=True)
class Validated:
    """A judge and how well it does. `auroc`: the chance that it finds an answer asked to show the positive pole more
    positive than one asked to show the negative pole, by the difference of its scores for the two; or, where it is
    blind to a pole, the chance by the score for that one alone. Of `n` answers. `coherence_auroc`: the chance that it
    finds an answer more coherent than a damaged one, None where none could be damaged.

    An answer counts to the pole it was asked for, so a model that does not follow its instructions makes a low AUROC
    as a judge without judgment does: neither tells anything of the trait.
    """

    judge: Judge
    name: str
    auroc: float
    n: int
    coherence_auroc: float | None = None

    @property
    def scored(self) -> bool:
        """Whether its scores may be shown. Where not, the trait is "unscored" in this model."""
        return self.auroc >= MIN_AUROC

    @property
    def record(self) -> JudgedBy:
        """How good the judge is, as a vector keeps it."""
        return JudgedBy(name=self.name, auroc=self.auroc, n=self.n, scored=self.scored)


def validate(judge: NamedJudge, samples: Sequence[LabelledAnswer], trait: Trait, work: Work) -> Validated:
    """Judge held-out samples for both poles, and damaged ones. Blocks. SetupError where it could score less than half
    of the answers of either pole."""
    damaged = damage(samples)
    asked = [(sample, side) for side in SIDES for sample in samples]
    asked += [(sample, side) for side in SIDES for sample in damaged if sample.condition == side]
    answers = [Answer(sample.question, sample.text, trait, side) for sample, side in asked]
    parts = work.in_parts(f"judge-{slug(judge.name)}", validation_label(trait), answers, SCORES, judge.score)
    scores = [score for part in parts for score in part]
    traits = np.array([np.nan if score is None else score.trait for score in scores], np.float32)
    coherences = np.array([np.nan if score is None else score.coherence for score in scores], np.float32)
    conditions = np.array([sample.condition for sample in samples])
    of_side = {side: slice(at * len(samples), (at + 1) * len(samples)) for at, side in enumerate(SIDES)}
    for side, condition in itertools.product(SIDES, SIDES):
        check_judged(list(itertools.compress(scores[of_side[side]], conditions == condition)), judge.name)
    whole = np.concatenate([coherences[of_side[side]][conditions == side] for side in SIDES])
    broken = _known(coherences[len(SIDES) * len(samples) :])
    return Validated(
        judge,
        judge.name,
        _told_apart(traits[of_side["positive"]], traits[of_side["negative"]], conditions == "positive"),
        len(samples),
        auroc(_known(whole), broken) if len(broken) else None,
    )


def damage(samples: Sequence[LabelledAnswer]) -> list[LabelledAnswer]:
    """Answers that make no sense, made of ones that do: words in any order, and the first half said over and over. The
    latter a model finds very likely."""
    words = [(sample, sample.text.split()) for sample in samples]
    long = [(sample, some) for sample, some in words if len(some) >= MIN_WORDS]
    rng = Random(0)
    shuffled = [
        LabelledAnswer(s.condition, s.question, " ".join(rng.sample(some, len(some)))) for s, some in long[:N_DAMAGED]
    ]
    circles = [
        LabelledAnswer(s.condition, s.question, " ".join(some[: len(some) // 2] * 6))
        for s, some in long[N_DAMAGED : 2 * N_DAMAGED]
    ]
    return shuffled + circles


def validation_label(trait: Trait) -> str:
    return f"{trait.id}: validating the judge"


def _told_apart(for_positive: FloatArray, for_negative: FloatArray, is_positive: npt.NDArray[np.bool_]) -> float:
    """How well the poles are told apart, as `Validated.auroc` has it. The scores for either pole are float32[n], nan
    where there is none; `is_positive`, bool[n], says which answers were asked to show the positive pole."""

    def between(scores: FloatArray) -> float:
        return auroc(_known(scores[is_positive]), _known(scores[~is_positive]))

    weaker = min(between(for_positive), between(-for_negative))
    return weaker if weaker < MIN_OF_A_POLE else between(for_positive - for_negative)


def _known(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]

"""The likelihood ratio as a judge: how much likelier an answer is under a trait's positive instruction than under the
negative one, to the unsteered model, on a scale that the model's own answers make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engines.base import FloatArray
from proxy.steering.judge.base import Answer, Score
from proxy.steering.judge.coherence import Coherence, usual_coherence
from proxy.steering.judge.reading import Reader, Reading
from proxy.steering.traits import Trait
from vector_store import SIDES, Condition, Side

N_STEPS = 50  # of Newton's method, which needs about ten


@dataclass(frozen=True)
class Logistic:
    """The probability of the upper of two classes, at a value: 1 / (1 + exp(-(slope x value + offset)))."""

    slope: float
    offset: float

    def __call__(self, value: float) -> float:
        return float(1 / (1 + np.exp(-np.clip(self.slope * value + self.offset, -50, 50))))


def fit_logistic(upper: FloatArray, lower: FloatArray) -> Logistic:
    """To the values of two classes that weigh the same. After Platt 1999: each class's target is drawn in by one
    made-up value of the other, so that classes that do not overlap have a finite slope."""
    values = np.concatenate([upper, lower]).astype(np.float64)
    mean, scale = values.mean(), max(values.std(), 1e-9)
    features = np.stack([(values - mean) / scale, np.ones_like(values)], axis=1)
    targets = np.repeat([(len(upper) + 1) / (len(upper) + 2), 1 / (len(lower) + 2)], [len(upper), len(lower)])
    weights = np.repeat([0.5 / len(upper), 0.5 / len(lower)], [len(upper), len(lower)])
    fitted = np.zeros(2)
    for _ in range(N_STEPS):
        shares = 1 / (1 + np.exp(-features @ fitted))
        gradient = features.T @ (weights * (shares - targets))
        curvature = (features * (weights * shares * (1 - shares))[:, None]).T @ features + 1e-9 * np.eye(2)
        fitted -= np.linalg.solve(curvature, gradient)
    slope = fitted[0] / scale
    return Logistic(float(slope), float(fitted[1] - slope * mean))


@dataclass(frozen=True)
class Calibration:
    """What a reading comes to: for each side, the probability that an answer was asked to show that pole and not to
    show the opposite one, or nothing; and its coherence."""

    sides: Mapping[Side, Logistic]
    coherence: Coherence


def calibrate(conditions: Sequence[Condition], readings: Sequence[Reading]) -> Calibration:
    """By answers of all conditions, which have a token at least."""
    ratios = np.array([reading.ratio for reading in readings], np.float32)
    asked = np.array(conditions)
    sides = {side: fit_logistic(ratios[asked == side], ratios[asked != side]) for side in SIDES}
    return Calibration(sides, usual_coherence(readings))


class LikelihoodJudge:
    """For one trait, in the model that `reader` reads with."""

    name = "likelihood ratio"

    def __init__(self, trait: Trait, reader: Reader, calibration: Calibration) -> None:
        self._trait = trait
        self._reader = reader
        self._calibration = calibration

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """See Judge.score. ValueError for an answer to be judged for another trait."""
        if any(answer.trait.id != self._trait.id for answer in answers):
            raise ValueError(f"a judge that was calibrated for {self._trait.id!r} can't judge another trait")
        asked = list(dict.fromkeys((answer.question, answer.text) for answer in answers))
        readings = dict(zip(asked, self._reader.read(asked), strict=True))
        return [self._score(readings[answer.question, answer.text], answer.side) for answer in answers]

    def _score(self, reading: Reading, side: Side) -> Score:
        shown = self._calibration.sides[side](reading.ratio) if reading.n_tokens else 0.0
        return Score(100 * shown, self._calibration.coherence(reading))

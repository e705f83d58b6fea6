"""The likelihood ratio as a judge: how much likelier an answer is under a pole's instruction than under the opposite
one, and than under none, to the unsteered model, on a scale that the model's own answers make.

The ratio of the two instructions alone can't tell a pole from an ordinary answer, which may well be likelier than
either pole's under the one and not under the other; so the ratio to no instruction stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from proxy.steering.judge.base import Answer, Score
from proxy.steering.judge.coherence import Coherence, usual_coherence
from proxy.steering.judge.reading import AnswerEvidence, EvidenceReader
from proxy.steering.traits.trait import Trait
from vector_store import SIDES, Condition, Side

Array = npt.NDArray[np.float64]

N_STEPS = 50  # of Newton's method, which needs about ten
RIDGE = 1e-3  # holds slopes down where the ratios of the answers say the same thing twice
STEEPEST = 50.0  # logits


@dataclass(frozen=True)
class Logistic:
    """The probability of one of two classes, from a few values: 1 / (1 + exp(-(slopes @ values + offset)))."""

    slopes: tuple[float, ...]
    offset: float

    def __call__(self, values: Sequence[float]) -> float:
        logit = float(np.dot(self.slopes, values)) + self.offset
        return float(1 / (1 + np.exp(-np.clip(logit, -STEEPEST, STEEPEST))))


def fit_logistic(members: Array, others: Array) -> Logistic:
    """The probability of the class of `members`, float64[n, k], against `others`, float64[m, k]; both classes weigh the
    same.

    After Platt 1999: each class's target is drawn in by one made-up answer of the other, so that classes that do not
    overlap have finite slopes.
    """
    values = np.concatenate([members, others])
    sizes = [len(members), len(others)]
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    features = np.column_stack([(values - mean) / scale, np.ones(len(values))])
    targets = np.repeat([(sizes[0] + 1) / (sizes[0] + 2), 1 / (sizes[1] + 2)], sizes)
    weights = np.repeat([0.5 / sizes[0], 0.5 / sizes[1]], sizes)
    ridge = np.diag([RIDGE] * values.shape[1] + [RIDGE / 1e3])
    fitted = np.zeros(features.shape[1])
    for _ in range(N_STEPS):
        shares = 1 / (1 + np.exp(-np.clip(features @ fitted, -STEEPEST, STEEPEST)))
        gradient = features.T @ (weights * (shares - targets)) + ridge @ fitted
        curvature = (features * (weights * shares * (1 - shares))[:, None]).T @ features + ridge
        fitted -= np.linalg.solve(curvature, gradient)
    slopes = fitted[:-1] / scale
    return Logistic(tuple(slopes.tolist()), float(fitted[-1] - slopes @ mean))


def ratios(reading: AnswerEvidence, side: Side) -> tuple[float, float]:
    """Two log-likelihood ratios per token, in nats: of the side's instruction to the opposite one, and to none."""
    own, opposite = (reading.positive, reading.negative)[:: 1 if side == "positive" else -1]
    return own - opposite, own - reading.plain


@dataclass(frozen=True)
class Calibration:
    """What an answer's evidence comes to. `sides`: the probability that the answer was asked to show that pole, and not
    the opposite one, or nothing. `coherence`: whether it makes sense."""

    sides: Mapping[Side, Logistic]
    coherence: Coherence


def calibrate(conditions: Sequence[Condition], readings: Sequence[AnswerEvidence]) -> Calibration:
    """The calibration by answers of all conditions, which have a token at least."""
    asked = np.array(conditions)
    sides = {}
    for side in SIDES:
        values = np.array([ratios(reading, side) for reading in readings], np.float64)
        sides[side] = fit_logistic(values[asked == side], values[asked != side])
    return Calibration(sides, usual_coherence(readings))


class LikelihoodJudge:
    """The likelihood ratio as a judge for one trait, in the model that `reader` reads with."""

    name = "likelihood ratio"

    def __init__(self, trait: Trait, reader: EvidenceReader, calibration: Calibration) -> None:
        self._trait = trait
        self._reader = reader
        self._calibration = calibration

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """One score for each answer, in order. Blocks. ValueError for an answer to be judged for another trait."""
        if any(answer.trait.id != self._trait.id for answer in answers):
            raise ValueError(f"a judge that was calibrated for {self._trait.id!r} can't judge another trait")
        readings = self._reader.read([(answer.question, answer.text) for answer in answers])
        return [self._score(reading, answer.side) for answer, reading in zip(answers, readings, strict=True)]

    def _score(self, reading: AnswerEvidence, side: Side) -> Score:
        shown = self._calibration.sides[side](ratios(reading, side)) if reading.n_tokens else 0.0
        return Score(100 * shown, self._calibration.coherence(reading))

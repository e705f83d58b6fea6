"""Statistics of scores: means, differences and shares with their intervals, and what chance would make of a figure.

Answers to one question are not independent of each other, so an interval is a percentile interval over questions drawn
again with replacement (a bootstrap over clusters; Efron and Tibshirani 1993, "An Introduction to the Bootstrap").
Knows nothing of what was scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray
from vector_store import Measured

Scores = npt.NDArray[np.float64]  # [n_questions, n_samples], nan where an answer could not be scored

N_DRAWS = 2000
INTERVAL = (2.5, 97.5)  # percentiles
N_PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Mean:
    """The mean of `n` values; its standard error is None for fewer than two."""

    n: int
    mean: float
    standard_error: float | None


@dataclass(frozen=True)
class Drawn:
    """A figure, and what it is when questions are drawn again, float64[N_DRAWS]."""

    value: float
    draws: Scores

    @property
    def measured(self) -> Measured:
        """The figure with its interval."""
        low, high = np.percentile(self.draws, INTERVAL)
        return Measured(mean=round(self.value, 4), low=round(float(low), 4), high=round(float(high), 4))


def mean(scores: Scores) -> float:
    """The mean over all answers that could be scored; at least one could."""
    return float(np.nanmean(scores))


def redrawn(scores: Scores) -> Scores:
    """float64[N_DRAWS]: the mean of all scores of as many questions, drawn with replacement. Each question has a score.

    Questions are drawn alike for every table of as many questions, so that tables compare draw by draw.
    """
    sums, counts = np.nansum(scores, axis=1), (~np.isnan(scores)).sum(axis=1)
    drawn = _drawn(len(scores))
    means: Scores = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


@lru_cache(maxsize=8)
def _drawn(n_questions: int) -> npt.NDArray[np.int64]:
    """int64[N_DRAWS, n_questions]: the questions of each draw."""
    drawn = np.random.default_rng(0).integers(0, n_questions, (N_DRAWS, n_questions))
    drawn.setflags(write=False)
    return drawn


def measured(scores: Scores) -> Measured | None:
    """The mean over all scores with its interval; None where there are none."""
    known = ~np.isnan(scores).all(axis=1)
    return Drawn(mean(scores), redrawn(scores[known])).measured if known.any() else None


def difference(scores: Scores, base: Scores, share: float = 1.0, *, best_of: int = 1) -> tuple[float, float] | None:
    """The interval of mean(scores) - share x mean(base), over the questions that have both; None where none has.

    Wider where `scores` are the best of several, one of which is far off by chance the more often (Bonferroni).
    """
    known = ~(np.isnan(scores).all(axis=1) | np.isnan(base).all(axis=1))
    if not known.any():
        return None
    outside = INTERVAL[0] / best_of
    low, high = np.percentile(redrawn(scores[known]) - share * redrawn(base[known]), (outside, 100 - outside))
    return float(low), float(high)


def share_of_gain(scores: Scores, base: Scores, full: Scores) -> Drawn | None:
    """(scores - base) / (full - base), of means over the questions that have all three. None where `full` is not above
    `base` for certain, and where nothing was scored."""
    gain = difference(full, base)
    known = ~(np.isnan(scores).all(axis=1) | np.isnan(base).all(axis=1) | np.isnan(full).all(axis=1))
    if gain is None or gain[0] <= 0 or not known.any():
        return None
    starts, ends = redrawn(base[known]), redrawn(full[known])
    draws = (redrawn(scores[known]) - starts) / np.maximum(ends - starts, 1e-9)
    start = mean(base[known])
    return Drawn((mean(scores[known]) - start) / (mean(full[known]) - start), draws)


def average(found: Sequence[Drawn | None]) -> Drawn | None:
    """The mean of the figures that are there, draw by draw; None where none is."""
    known = [each for each in found if each is not None]
    if not known:
        return None
    draws: Scores = np.mean([each.draws for each in known], axis=0)
    return Drawn(float(np.mean([each.value for each in known])), draws)


def wrong_way(scores: Scores, base: Scores) -> Scores:
    """1 where an answer scores less than the same question's `base` answers do on average, else 0; nan where either is
    unknown."""
    return _below(scores, _mean_of_each(np.nansum(base, axis=1), (~np.isnan(base)).sum(axis=1))[:, None])


def wrong_way_unsteered(base: Scores) -> Scores:
    """1 where an answer scores less than the same question's other answers do on average, else 0: what chance alone
    makes of `wrong_way`."""
    others = np.nansum(base, axis=1, keepdims=True) - np.nan_to_num(base)
    count = (~np.isnan(base)).sum(axis=1, keepdims=True) - ~np.isnan(base)
    return _below(base, _mean_of_each(others, count))


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of independent values; None for no values."""
    if not values:
        return None
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    return Mean(len(values), float(np.mean(values)), error)


def drift(recent: Mean, earlier: Mean) -> tuple[float, float | None]:
    """How much higher recent values are than earlier ones, and the standard error of that."""
    risen = recent.mean - earlier.mean
    if recent.standard_error is None or earlier.standard_error is None:
        return risen, None
    return risen, float(np.hypot(recent.standard_error, earlier.standard_error))


def auroc(positive: FloatArray, negative: FloatArray) -> float:
    """The probability that a positive value is above a negative one; a tie counts half."""
    above = positive[:, None] > negative[None, :]
    equal = positive[:, None] == negative[None, :]
    return float(above.mean() + 0.5 * equal.mean())


def cosine(one: FloatArray, other: FloatArray) -> FloatArray:
    """float[...]: the cosine between vectors [..., width], along their last axis; 0 where one has no direction."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines: FloatArray = (one * other).sum(axis=-1) / np.maximum(lengths, 1e-30)
    return cosines


def correlation(one: FloatArray, other: FloatArray) -> float | None:
    """Pearson's correlation between two arrays of one shape; None where either does not vary."""
    if not one.std() or not other.std():
        return None
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def permutation_p(likeness: Scores, seed: int) -> float:
    """Of float64[n, n], how alike each of n things (rows) is to each of n others: the share of ways to deal them out
    whose mean is as high as that of the diagonal, which is counted as one of the ways."""
    rng = np.random.default_rng(seed)
    n = len(likeness)
    dealt = np.array([likeness[rng.permutation(n), np.arange(n)].mean() for _ in range(N_PERMUTATIONS)])
    # Sums in another order differ in the last digit: a tie must count.
    return float((1 + (dealt >= np.trace(likeness) / n - 1e-12).sum()) / (1 + N_PERMUTATIONS))


def _below(scores: Scores, limits: Scores) -> Scores:
    return np.where(np.isnan(scores) | np.isnan(limits), np.nan, scores < limits)


def _mean_of_each(sums: Scores, counts: npt.NDArray[np.int_]) -> Scores:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

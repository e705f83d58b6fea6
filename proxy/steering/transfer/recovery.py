"""How much of what a native vector does another one does, and how alike they point: with what chance would make of it.

Answers to one question are not independent, and all arms answer the same ones, so every interval is a percentile
interval over questions drawn again, the same for all arms. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray
from proxy.steering.sweep.calibration import INTERVAL, Scores, difference, mean, redrawn
from vector_store import Measured

N_PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Drawn:
    """A figure, and what it is when questions are drawn again, float64[n_draws]."""

    value: float
    draws: Scores


def recovery(scores: Scores, none: Scores, native: Scores) -> Drawn | None:
    """(scores - none) / (native - none), of means over the same questions. None where the native vector does nothing
    for certain, and where nothing was scored."""
    gain = difference(native, none)
    known = ~(np.isnan(scores).all(axis=1) | np.isnan(none).all(axis=1) | np.isnan(native).all(axis=1))
    if gain is None or gain[0] <= 0 or not known.any():
        return None
    base, whole = redrawn(none[known]), redrawn(native[known])
    share = (redrawn(scores[known]) - base) / np.maximum(whole - base, 1e-9)
    start = mean(none[known])
    return Drawn((mean(scores[known]) - start) / (mean(native[known]) - start), share)


def mean_of(found: Sequence[Drawn | None]) -> Drawn | None:
    """The mean of those that are there; the same questions are drawn for all of them."""
    known = [each for each in found if each is not None]
    if not known:
        return None
    draws: Scores = np.mean([each.draws for each in known], axis=0)
    return Drawn(float(np.mean([each.value for each in known])), draws)


def summary(drawn: Drawn | None) -> Measured | None:
    """With its interval."""
    if drawn is None:
        return None
    low, high = np.percentile(drawn.draws, INTERVAL)
    return Measured(mean=round(drawn.value, 4), low=round(float(low), 4), high=round(float(high), 4))


def cosine(one: FloatArray, other: FloatArray) -> float:
    """Of two directions."""
    return round(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))), 4)


def permutation_p(cosines: npt.NDArray[np.float64], seed: int) -> float:
    """Of float64[n, n], the cosine of each transferred vector (rows) to each native one: the share of ways to deal
    them out whose mean is as high as that of the diagonal, which is counted as one of them."""
    rng = np.random.default_rng(seed)
    n = len(cosines)
    dealt = np.array([cosines[rng.permutation(n), np.arange(n)].mean() for _ in range(N_PERMUTATIONS)])
    return float((1 + (dealt >= np.trace(cosines) / n - 1e-12).sum()) / (1 + N_PERMUTATIONS))

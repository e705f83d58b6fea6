"""Which block of the source tells most about each block of the target, from a small sample of paired residuals.

Every pair of blocks is tried by ridge regression in its dual form, which needs only how alike the sample's residuals
are to each other in each block: all pairs of blocks of large models fit in memory at once. Numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray
from proxy.steering.transfer.normal import FOLDS, Scale

IntArray = npt.NDArray[np.int64]

SAMPLE = 768  # pairs; the time grows with its third power
STRENGTHS = (0.01, 0.1, 1.0)  # of the ridge, in variances of a source dimension


@dataclass(frozen=True)
class PairedResiduals:
    """Paired residuals: `source` float32[n, source blocks, d], `target` float32[n, target blocks, p], and the fold,
    int[n], each pair's document is in."""

    source: FloatArray
    target: FloatArray
    folds: IntArray


def screen(sample: PairedResiduals) -> FloatArray:
    """float32[source blocks, target blocks]: the R2 on held-out folds of the best ridge between every two blocks."""
    targets = [_likeness(sample.target[:, block]) for block in range(sample.target.shape[1])]
    n_blocks, width = sample.source.shape[1:]
    rows = [_r_squared(_likeness(sample.source[:, block]), width, targets, sample.folds) for block in range(n_blocks)]
    return np.stack(rows)


def _likeness(residuals: FloatArray) -> FloatArray:
    """float32[n, n]: the mean over dimensions of the products of two residuals, in units of the sample."""
    scaled = Scale.of(residuals)(residuals)
    return scaled @ scaled.T / scaled.shape[1]


def _r_squared(source: FloatArray, width: int, targets: Sequence[FloatArray], folds: IntArray) -> FloatArray:
    """float32[target blocks]. With W = X'(XX' + n s)^-1 Y, everything about the errors is in the likenesses."""
    errors = np.zeros((len(STRENGTHS), len(targets)))
    spread = np.zeros(len(targets))
    for fold in range(FOLDS):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        values, axes = np.linalg.eigh(source[np.ix_(train, train)])
        onto = source[np.ix_(test, train)] @ axes
        spread += [np.trace(target[np.ix_(test, test)]) for target in targets]
        for number, strength in enumerate(STRENGTHS):
            weights = onto / (np.maximum(values, 0) + strength * len(train) / width) @ axes.T
            for block, target in enumerate(targets):
                explained = 2 * np.vdot(weights, target[np.ix_(test, train)])
                explained -= np.vdot(weights, weights @ target[np.ix_(train, train)])
                errors[number, block] += np.trace(target[np.ix_(test, test)]) - explained
    return (1 - errors.min(axis=0) / spread).astype(np.float32)

"""Relative dose: the one strength that compares across layers, traits and models.

The norm of what is done to a residual over the median norm of residuals at that block. Numpy only.
"""

from collections.abc import Sequence

import numpy as np

from proxy.engines.base import FloatArray

_PARALLEL = 1e-3  # smallest singular value of unit rows that still count as independent


def unit(vector: FloatArray) -> FloatArray | None:
    """float32[hidden] of length 1 in the same direction; None for a vector that has no direction."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not np.isfinite(length) or length == 0:
        return None
    return (vector / length).astype(np.float32)


def independent(basis: FloatArray) -> bool:
    """Whether the unit rows of float32[k, hidden] can be set one by one: none is (almost) made up of the others."""
    if len(basis) > basis.shape[1]:
        return False
    return bool(np.linalg.svd(basis.astype(np.float64), compute_uv=False)[-1] > _PARALLEL)


def smallest_move(basis: FloatArray, offsets: FloatArray) -> FloatArray:
    """float32[hidden]: the shortest vector whose projection on each row of `basis` [k, hidden] is `offsets` [k]."""
    return (np.linalg.pinv(basis.astype(np.float64)) @ offsets).astype(np.float32)


def addition_dose(additions: Sequence[FloatArray], residual_norm: float) -> float:
    """Relative dose of several additions to the same residual."""
    return float(np.linalg.norm(np.sum(np.stack(additions), axis=0, dtype=np.float64))) / residual_norm

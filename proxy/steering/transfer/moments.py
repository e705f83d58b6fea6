"""What a linear map is fitted from: sums over paired residuals, gathered as they come, fold by fold.

Residuals are not kept, so memory does not grow with the corpus. A fit without one fold, to be tried on that fold, is
made from the sums of the others. Numpy only: knows nothing of models, tokens or documents.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proxy.engines.base import FloatArray

FOLDS = 3
ROWS = 256  # pairs that are added at once: each time, all of a sum is read and written


@dataclass(frozen=True)
class Scale:
    """Where numbers are counted from, and in what unit, dimension by dimension: float32[width] each.

    Some dimensions of large models are a thousand times larger than others, and far from 0. Sums of squares around 0
    would lose everything else to rounding, and a ridge would see nothing but them.
    """

    middle: FloatArray
    unit: FloatArray

    @classmethod
    def of(cls, residuals: FloatArray) -> "Scale":
        """The scale of a sample, float32[n, width]: its mean and standard deviation. A dimension that hardly moves
        counts as if it did a little (a thousandth of the median dimension), so that its noise is not blown up."""
        deviations = residuals.std(axis=0, dtype=np.float64)
        floor = 1e-3 * float(np.median(deviations)) or 1.0
        middle = residuals.mean(axis=0, dtype=np.float64)
        return cls(middle.astype(np.float32), np.maximum(deviations, floor).astype(np.float32))

    def __call__(self, residuals: FloatArray) -> FloatArray:
        """The residuals, float32[n, width], in these units."""
        return (residuals - self.middle) / self.unit


class Cross:
    """Sums over n pairs of x, float32[n, d], and y, float32[n, p]: of each, and of their products."""

    def __init__(self, d: int, p: int) -> None:
        self.n = 0
        self.x = np.zeros(d, np.float32)
        self.y = np.zeros(p, np.float32)
        self.xy = np.zeros((d, p), np.float32)

    def add(self, x: FloatArray, y: FloatArray) -> None:
        """Add pairs: float32[n, d] and float32[n, p]."""
        self.n += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xy += x.T @ y

    @property
    def covariance(self) -> FloatArray:
        """float32[d, p]: the covariance of x and y."""
        n = np.float32(max(self.n, 1))
        return (self.xy - np.outer(self.x, self.y / n)) / n


class Sums(Cross):
    """Sums over n pairs of x and y: of each, of their products, and of the products of each with itself."""

    def __init__(self, d: int, p: int) -> None:
        super().__init__(d, p)
        self.xx = np.zeros((d, d), np.float32)
        self.yy = np.zeros((p, p), np.float32)

    def add(self, x: FloatArray, y: FloatArray) -> None:
        """Add pairs: float32[n, d] and float32[n, p]."""
        super().add(x, y)
        self.xx += x.T @ x
        self.yy += y.T @ y

    @classmethod
    def total(cls, parts: Sequence["Sums"]) -> "Sums":
        """The sums over the pairs of all parts."""
        whole = cls(*parts[0].xy.shape)
        for part in parts:
            whole.n += part.n
            whole.x += part.x
            whole.y += part.y
            whole.xx += part.xx
            whole.xy += part.xy
            whole.yy += part.yy
        return whole

    def about(self, x: FloatArray, y: FloatArray) -> "Covariances":
        """Mean products of what is left when the points x, float32[d], and y, float32[p], are taken away."""
        n = np.float32(self.n)
        mean_x, mean_y = self.x / n, self.y / n
        return Covariances(
            x,
            y,
            _about(self.xx / n, mean_x, mean_x, x, x),
            _about(self.xy / n, mean_x, mean_y, x, y),
            _about(self.yy / n, mean_y, mean_y, y, y),
        )

    @property
    def covariances(self) -> "Covariances":
        """Mean products of what is left when the means are taken away."""
        n = np.float32(self.n)
        return self.about(self.x / n, self.y / n)


@dataclass(frozen=True)
class Covariances:
    """Mean products of two residuals x and y about the points `x`, float32[d], and `y`, float32[p]: float32[d, d],
    [d, p] and [p, p]."""

    x: FloatArray
    y: FloatArray
    xx: FloatArray
    xy: FloatArray
    yy: FloatArray

    @cached_property
    def spread(self) -> float:
        """The mean square distance of y from its point."""
        return float(np.trace(self.yy, dtype=np.float64))


def _about(products: FloatArray, mean_a: FloatArray, mean_b: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """The mean of (a_i - a)(b_i - b)' from the mean of a_i b_i', which is overwritten."""
    products -= np.outer(a, mean_b)
    products -= np.outer(mean_a - a, b)
    return products


class Moments:
    """The sums of one pair of blocks by fold, in the units of their scales, and the cross sums of pairs that do not
    belong together, `shuffled`, which the map's controls are fitted from."""

    def __init__(self, source: Scale, target: Scale, n_shuffled: int) -> None:
        shape = len(source.middle), len(target.middle)
        self.source, self.target = source, target
        self.folds = [Sums(*shape) for _ in range(FOLDS)]
        self.shuffled = [Cross(*shape) for _ in range(n_shuffled)]
        self._waiting: defaultdict[Cross, list[tuple[FloatArray, FloatArray]]] = defaultdict(list)
        self._n_waiting: Counter[Cross] = Counter()

    def add(self, sums: Cross, x: FloatArray, y: FloatArray) -> None:
        """Add pairs of residuals, float32[n, d] and float32[n, p], to one of `folds` or `shuffled`."""
        self._waiting[sums].append((x, y))
        self._n_waiting[sums] += len(x)
        if self._n_waiting[sums] >= ROWS:
            self._flush(sums)

    def finish(self) -> None:
        """Add what was gathered and still waits: there are no more pairs."""
        for sums in list(self._waiting):
            self._flush(sums)

    def in_residuals(self, map_: FloatArray) -> FloatArray:
        """A map between residuals from one between these units, float32[d, p]."""
        return map_ * (self.target.unit / self.source.unit[:, None])

    def _flush(self, sums: Cross) -> None:
        x, y = zip(*self._waiting.pop(sums), strict=True)
        del self._n_waiting[sums]
        sums.add(self.source(np.concatenate(x)), self.target(np.concatenate(y)))

"""Linear maps from one residual space to another: three ways to fit them, and which is best on what it has not seen.

Ridge regression; ridge of reduced rank (Izenman 1975), which keeps the directions of the target that are predicted
best; and whitened Procrustes (Smith et al. 2017, "Offline bilingual word vectors"), a rotation between the leading
principal components of both. All work on covariances in the units of a Scale. Numpy only.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from proxy.engines.base import FloatArray
from proxy.steering.transfer.moments import FOLDS, Covariances, Sums

Kind = Literal["ridge", "reduced_rank", "procrustes"]

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of a ridge, in variances of a source dimension
RANKS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
SMALLEST = 1e-6  # of the largest variance: principal components below it are rounding


@dataclass(frozen=True)
class Method:
    """How a map is fitted. `strength`: of the ridge, 0 for Procrustes. `rank`: of the map; None for a plain ridge."""

    kind: Kind
    strength: float = 0.0
    rank: int | None = None

    @property
    def words(self) -> str:
        """The method in words."""
        ridge = f"ridge of strength {self.strength:g}"
        return {
            "ridge": ridge,
            "reduced_rank": f"{ridge}, rank {self.rank}",
            "procrustes": f"whitened Procrustes on {self.rank} components",
        }[self.kind]


class Fit:
    """Maps fitted to covariances: what they share is found once, so that every further strength is cheap."""

    def __init__(self, covariances: Covariances) -> None:
        self._of = covariances
        self._variances, self._axes = _eigen(covariances.xx)  # [d], [d, d]: the source's principal axes as columns

    def solve(self, method: Method, xy: FloatArray | None = None) -> FloatArray:
        """float32[d, p]: the map W for which x W is close to y. With `xy`, float32[d, p], as if that were their
        covariance."""
        xy = self._of.xy if xy is None else xy
        if method.kind == "procrustes":
            return self._procrustes(method.rank or 1, xy)
        ridge: FloatArray = self._axes @ self._on_axes(method.strength, self._axes.T @ xy)
        if method.kind == "ridge":
            return ridge
        # Reduced-rank regression is the full ridge, projected on the directions of the target it explains most of
        # (Izenman 1975): no further fit is needed.
        best = self._predicted(method.strength, self._axes.T @ xy)[:, : method.rank]
        onto: FloatArray = ridge @ best
        return onto @ best.T

    def errors(self, test: Covariances) -> dict[Method, float]:
        """The mean square error of every candidate on other pairs, `test`, which is about the same points. Ranks are
        tried at the ridge strength that is best here."""
        turned = self._axes.T @ self._of.xy
        half_turned: FloatArray = self._axes.T @ test.xx
        on_axes = Covariances(test.x, test.y, half_turned @ self._axes, self._axes.T @ test.xy, test.yy)
        found = self._errors_by_strength(turned, on_axes)
        # Every rank at every strength would take as many decompositions as there are strengths.
        strength = min(found, key=lambda method: found[method]).strength
        return found | self._errors_by_rank(strength, turned, on_axes) | self._procrustes_errors(turned, on_axes)

    @property
    def _ranks(self) -> list[int]:
        """The ranks to try, all less than full."""
        return [rank for rank in RANKS if rank < min(self._of.xy.shape)]

    def _on_axes(self, strength: float, turned: FloatArray) -> FloatArray:
        """float32[d, p]: the ridge map on the source's principal axes, from `turned`, the covariance on these axes."""
        return turned / (self._variances + np.float32(strength))[:, None]

    def _predicted(self, strength: float, turned: FloatArray) -> FloatArray:
        """float32[p, p]: the target's directions as columns, those that the ridge explains most of first."""
        return _eigen(turned.T @ self._on_axes(strength, turned))[1]

    def _errors_by_strength(self, turned: FloatArray, on_axes: Covariances) -> dict[Method, float]:
        """The mean square error of a ridge of each strength. On its axes a ridge only shrinks rows: what is left for
        each strength are sums over rows and their pairs."""
        across = (turned * on_axes.xy).sum(axis=1)  # [d]
        within = on_axes.xx * (turned @ turned.T)  # [d, d]
        found = {}
        for strength in STRENGTHS:
            shrink = 1 / (self._variances + np.float32(strength))
            found[Method("ridge", strength)] = on_axes.spread - float(2 * across @ shrink - shrink @ within @ shrink)
        return found

    def _procrustes_errors(self, turned: FloatArray, on_axes: Covariances) -> dict[Method, float]:
        """The mean square error of whitened Procrustes of each rank, computed in the few components that are kept."""
        found = {}
        for rank in self._ranks:
            x, y = _deviations(self._variances[:rank]), _deviations(self._target_axes[0][:rank])
            axes = self._target_axes[1][:, :rank]
            rotation = _rotation((turned[:rank] / x[:, None]) @ (axes / y))
            across = (on_axes.xy[:rank] / x[:, None]) @ (axes * y)
            within = on_axes.xx[:rank, :rank] / np.outer(x, x)
            predicted = (rotation * (within @ rotation)).sum(axis=0) @ y**2
            found[Method("procrustes", rank=rank)] = on_axes.spread - float(2 * np.vdot(rotation, across) - predicted)
        return found

    def _errors_by_rank(self, strength: float, turned: FloatArray, on_axes: Covariances) -> dict[Method, float]:
        directions = self._predicted(strength, turned)
        ridge = self._on_axes(strength, turned) @ directions  # [d, p]: what it says of each direction
        gains = 2 * (ridge * (on_axes.xy @ directions)).sum(axis=0) - (ridge * (on_axes.xx @ ridge)).sum(axis=0)
        errors = on_axes.spread - np.cumsum(gains, dtype=np.float64)
        return {Method("reduced_rank", strength, rank): float(errors[rank - 1]) for rank in self._ranks}

    def _procrustes(self, rank: int, xy: FloatArray) -> FloatArray:
        source, target = self._axes[:, :rank], self._target_axes[1][:, :rank]
        x_deviations, y_deviations = _deviations(self._variances[:rank]), _deviations(self._target_axes[0][:rank])
        rotation = _rotation((source / x_deviations).T @ xy @ (target / y_deviations))
        return ((source / x_deviations) @ rotation) @ (target * y_deviations).T

    @cached_property
    def _target_axes(self) -> tuple[FloatArray, FloatArray]:
        return _eigen(self._of.yy)


def mean_error(map_: FloatArray, test: Covariances) -> float:
    """The mean square distance of y from x `map_`, both about the points of `test`."""
    explained = 2 * np.vdot(map_, test.xy) - np.vdot(map_, test.xx @ map_)
    return test.spread - float(explained)


def r_squared(map_: FloatArray, test: Covariances) -> float:
    """The share of the target's variance that the map explains: 1 is all, below 0 is worse than nothing."""
    return 1 - mean_error(map_, test) / test.spread


def cross_validated(folds: Sequence[Sums]) -> dict[Method, float]:
    """Every candidate's R2 on folds it was not fitted to. Ranks of the reduced kind are tried at one strength in each
    fold; here they stand with the ridge's best."""
    errors: defaultdict[Method, float] = defaultdict(float)
    spread = 0.0
    # Errors and spreads are added up over the folds before they are divided: a small fold must not weigh as a large.
    for held_out in range(FOLDS):
        train = Sums.total([sums for number, sums in enumerate(folds) if number != held_out]).covariances
        test = folds[held_out].about(train.x, train.y)
        weight = folds[held_out].n
        spread += weight * test.spread
        for method, error in Fit(train).errors(test).items():
            ranked = method.kind == "reduced_rank"
            errors[dataclasses.replace(method, strength=0.0) if ranked else method] += weight * error
    found = {method: 1 - error / spread for method, error in errors.items()}
    strength = best({m: r2 for m, r2 in found.items() if m.kind == "ridge"}).strength
    return {
        dataclasses.replace(method, strength=strength) if method.kind == "reduced_rank" else method: r2
        for method, r2 in found.items()
    }


def best(found: Mapping[Method, float]) -> Method:
    """The method with the highest R2."""
    return max(found, key=lambda method: found[method])


def _eigen(symmetric: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, none below 0, and eigenvectors as columns, largest first."""
    values, vectors = np.linalg.eigh(symmetric)
    # Rounding makes eigenvalues of 0 a little negative, and square roots of them nan.
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def _rotation(whitened: FloatArray) -> FloatArray:
    """The rotation that is closest to a covariance between whitened components."""
    # The orthogonal Procrustes problem (Schoenemann 1966): drop the singular values.
    left, _, right = np.linalg.svd(whitened)
    rotation: FloatArray = left @ right
    return rotation


def _deviations(variances: FloatArray) -> FloatArray:
    # What is whitened is divided by these: components that are rounding would be blown up to full size.
    return np.sqrt(np.maximum(variances, SMALLEST * max(float(variances.max()), 1e-30)))

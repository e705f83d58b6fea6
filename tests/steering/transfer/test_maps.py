"""What is fitted from streamed sums is what would be fitted from all residuals at once, and the best way is chosen."""

import numpy as np
import pytest

from proxy.engines.base import FloatArray
from proxy.steering.transfer.blocks import PairedResiduals, screen
from proxy.steering.transfer.maps import Fit, Method, best, cross_validated, r_squared
from proxy.steering.transfer.moments import FOLDS, ROWS, Moments, Scale, Sums

N, D, P = 600, 20, 12
RNG = np.random.default_rng(5)


def pairs(n: int = N, rank: int = D, noise: float = 0.1) -> tuple[FloatArray, FloatArray, FloatArray]:
    """x, y and the map between them, of a rank; far from 0, and of very different sizes."""
    map_ = RNG.normal(0, 1, (D, rank)) @ RNG.normal(0, 1, (rank, P)) / rank**0.5
    x = RNG.normal(0, 1, (n, D)) * np.geomspace(1, 100, D) + 500
    y = (x - 500) @ map_ / np.geomspace(1, 100, D).mean() + RNG.normal(0, noise, (n, P)) - 50
    return x.astype(np.float32), y.astype(np.float32), map_.astype(np.float32)


def gathered(x: FloatArray, y: FloatArray, size: int = 7) -> Moments:
    """Streamed a few rows at a time, to the folds in turn; the control gets them in another order."""
    moments = Moments(Scale.of(x[:100]), Scale.of(y[:100]), 1)
    wrong = y[RNG.permutation(len(y))]
    for number, start in enumerate(range(0, len(x), size)):
        rows = slice(start, start + size)
        moments.add(moments.folds[number % FOLDS], x[rows], y[rows])
        moments.add(moments.shuffled[0], x[rows], wrong[rows])
    moments.finish()
    return moments


def test_sums_when_streamed_then_the_covariances_are_those_of_all_at_once() -> None:
    x, y, _ = pairs()
    assert len(x) % ROWS
    moments = gathered(x, y)
    whole = Sums.total(moments.folds)
    found = whole.covariances
    both = np.cov(np.hstack([moments.source(x), moments.target(y)]).T.astype(np.float64), bias=True)
    assert whole.n == N
    np.testing.assert_allclose(found.xx, both[:D, :D], atol=1e-4)
    np.testing.assert_allclose(found.xy, both[:D, D:], atol=1e-4)
    np.testing.assert_allclose(found.yy, both[D:, D:], atol=1e-4)


def test_sums_when_counted_from_other_points_then_are_as_if_these_were_taken_away_first() -> None:
    x, y = RNG.normal(3, 1, (50, 4)).astype(np.float32), RNG.normal(-2, 1, (50, 3)).astype(np.float32)
    sums = Sums(4, 3)
    sums.add(x, y)
    a, b = np.arange(4, dtype=np.float32), np.arange(3, dtype=np.float32)
    found = sums.about(a, b)
    np.testing.assert_allclose(found.xy, (x - a).T @ (y - b) / 50, rtol=1e-4)
    np.testing.assert_allclose(found.xx, (x - a).T @ (x - a) / 50, rtol=1e-4)


def test_ridge_when_fitted_from_sums_then_equals_least_squares_with_its_penalty() -> None:
    x, y, _ = pairs()
    moments = gathered(x, y)
    a, b = moments.source(x).astype(np.float64), moments.target(y).astype(np.float64)
    a, b = a - a.mean(0), b - b.mean(0)
    expected = np.linalg.solve(a.T @ a / N + 0.1 * np.eye(D), a.T @ b / N)
    found = Fit(Sums.total(moments.folds).covariances).solve(Method("ridge", 0.1))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_errors_when_tried_on_a_fold_then_are_those_of_predicting_it() -> None:
    x, y, _ = pairs(rank=4, noise=5.0)
    moments = gathered(x, y)
    train = Sums.total(moments.folds[1:]).covariances
    fold = np.arange(N) // 7 % FOLDS == 0
    errors = Fit(train).errors(moments.folds[0].about(train.x, train.y))
    for method in (Method("ridge", 0.01), Method("procrustes", rank=8), next(m for m in errors if m.rank == 4)):
        map_ = Fit(train).solve(method)
        left = moments.target(y[fold]) - train.y - (moments.source(x[fold]) - train.x) @ map_
        assert errors[method] == pytest.approx(float((left**2).sum(axis=1).mean()), rel=1e-2)


def test_map_when_turned_back_to_residuals_then_maps_differences_of_residuals() -> None:
    x, y, _ = pairs(noise=0.0)
    moments = gathered(x, y)
    map_ = moments.in_residuals(Fit(Sums.total(moments.folds).covariances).solve(Method("ridge", 1e-6)))
    np.testing.assert_allclose((x[0] - x[1]) @ map_, y[0] - y[1], rtol=1e-2, atol=1e-2 * np.abs(y[0] - y[1]).max())


def test_best_when_the_truth_has_few_dimensions_and_much_noise_then_the_rank_is_reduced() -> None:
    x, y, _ = pairs(n=120, rank=2, noise=20.0)
    tried = cross_validated(gathered(x, y).folds)
    assert best(tried).kind == "reduced_rank" and best(tried).rank in (4, 8)


def test_shuffled_pairs_when_a_map_is_fitted_to_them_then_it_explains_nothing() -> None:
    moments = gathered(*pairs()[:2])
    whole = Sums.total(moments.folds).covariances
    fit, method = Fit(whole), Method("ridge", 0.01)
    assert r_squared(fit.solve(method), whole) > 0.9
    assert r_squared(fit.solve(method, moments.shuffled[0].covariance), whole) < 0.05


def test_scale_when_a_dimension_never_moves_then_it_is_not_blown_up() -> None:
    sample = np.hstack([RNG.normal(0, 1, (50, 3)), np.full((50, 1), 7.0)]).astype(np.float32)
    assert np.abs(Scale.of(sample)(sample + 1e-5)).max() < 10
    assert np.isfinite(Scale.of(np.zeros((5, 2), np.float32))(np.ones((1, 2), np.float32))).all()


def test_screen_when_blocks_are_planted_then_each_finds_its_own() -> None:
    x, y, _ = pairs(n=200)
    other = RNG.normal(0, 1, x.shape).astype(np.float32)
    junk = RNG.normal(0, 1, y.shape).astype(np.float32)
    sample = PairedResiduals(np.stack([other, x], axis=1), np.stack([y, junk], axis=1), np.arange(200) % FOLDS)
    table = screen(sample)
    assert table.shape == (2, 2) and table[1, 0] > 0.9
    assert max(table[0, 0], table[0, 1], table[1, 1]) < 0.1

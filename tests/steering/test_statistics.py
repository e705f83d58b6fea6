"""Means, differences and shares with intervals that hold what other questions would have made of them; and chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.steering.statistics import (
    Mean,
    auroc,
    average,
    correlation,
    cosine,
    difference,
    drift,
    mean_of,
    measured,
    permutation_p,
    share_of_gain,
    wrong_way,
    wrong_way_unsteered,
)

N_QUESTIONS, N_SAMPLES = 10, 4
UNKNOWN = np.full((N_QUESTIONS, N_SAMPLES), np.nan)
NONE = np.array([[0.0, 10.0], [20.0, 10.0], [0.0, 20.0], [10.0, 10.0]])  # mean 10


def test_share_of_gain_then_it_is_the_share_of_what_the_native_vector_adds() -> None:
    found = share_of_gain(NONE + 30, NONE, NONE + 40)
    assert found is not None
    share = found.measured
    assert share.mean == pytest.approx(0.75) and share.low == share.high == pytest.approx(0.75)
    back = share_of_gain(NONE, NONE, NONE + 40)
    assert back is not None and back.measured.mean == 0


def test_share_of_gain_when_questions_differ_then_the_interval_holds_what_others_would_have_made_of_it() -> None:
    native = NONE + np.array([[80.0], [10.0], [60.0], [50.0]])
    moved = NONE + np.array([[80.0], [0.0], [20.0], [50.0]])
    found = share_of_gain(moved, NONE, native)
    assert found is not None and found.value == pytest.approx(150 / 200)
    assert found.measured.low < 0.6 and 0.9 < found.measured.high <= 1.0


def test_share_of_gain_when_arms_have_samples_of_their_own_number_then_each_counts_by_its_own_mean() -> None:
    moved = np.full((4, 5), 30.0)
    moved[0, 0] = np.nan  # could not be scored
    found = share_of_gain(moved, NONE, np.full((4, 1), 50.0))
    assert found is not None and found.value == pytest.approx(0.5)


@pytest.mark.parametrize("native", [NONE, NONE - 5, NONE + np.array([[40.0], [-40.0], [30.0], [-20.0]])])
def test_share_of_gain_when_the_native_vector_does_nothing_for_certain_then_there_is_none(native: np.ndarray) -> None:
    assert share_of_gain(NONE + 30, NONE, native) is None


def test_average_then_figures_that_are_missing_do_not_count_and_the_interval_is_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    native = np.full((30, 2), 100.0)
    none = np.zeros((30, 2))
    both = [share_of_gain(np.where(rng.random((30, 2)) < 0.5, 100.0, 0.0), none, native) for _ in range(2)]
    one, two, mean = (each and each.measured for each in (*both, average([*both, None])))
    assert one and two and mean and mean.mean == pytest.approx((one.mean + two.mean) / 2, abs=1e-3)
    assert mean.high - mean.low < max(one.high - one.low, two.high - two.low)
    assert average([None, None]) is None


def test_cosine_then_length_does_not_matter_and_what_has_no_direction_has_0() -> None:
    one = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    other = np.array([[30.0, 40.0], [-1.0, 1.0], [1.0, 1.0]], np.float32)
    np.testing.assert_allclose(cosine(one, other), [1, -(0.5**0.5), 0], rtol=1e-6)


def test_correlation_when_one_does_not_vary_then_there_is_none() -> None:
    rising = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert correlation(rising, -2 * rising) == pytest.approx(-1)
    assert correlation(rising, np.ones_like(rising)) is None


def test_permutation_p_then_only_directions_that_belong_together_are_rare() -> None:
    assert permutation_p(np.eye(8), 0) < 0.001
    assert permutation_p(np.full((8, 8), 0.9), 0) == 1.0
    assert permutation_p(np.roll(np.eye(8), 1, axis=0), 0) > 0.5


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(0, 100), min_size=3, max_size=3), min_size=2, max_size=12))
def test_measured_then_the_interval_is_around_the_mean_and_within_the_questions_means(rows: list[list[float]]) -> None:
    scores = np.array(rows)
    found = measured(scores)
    assert found is not None and found.low - 1e-3 <= found.mean <= found.high + 1e-3
    assert scores.mean(axis=1).min() - 1e-3 <= found.low and found.high <= scores.mean(axis=1).max() + 1e-3


def test_measured_when_questions_disagree_then_more_answers_to_each_tell_no_more() -> None:
    """Answers to one question are not independent."""
    questions = np.array([0.0] * 5 + [100.0] * 5)[:, None]
    few, many = measured(np.repeat(questions, 2, axis=1)), measured(np.repeat(questions, 50, axis=1))
    assert few == many and few is not None and few.high - few.low > 50


def test_measured_when_some_are_unscored_then_they_do_not_count_and_when_all_are_then_none() -> None:
    scores = np.full((N_QUESTIONS, N_SAMPLES), 80.0)
    scores[3], scores[5, 0] = np.nan, np.nan
    found = measured(scores)
    assert found is not None and (found.mean, found.low, found.high) == (80, 80, 80)
    assert measured(UNKNOWN) is None


def test_difference_then_the_same_questions_are_drawn_for_both() -> None:
    scores = np.random.default_rng(1).normal(50, 30, (N_QUESTIONS, N_SAMPLES))
    assert difference(scores + 5, scores) == pytest.approx((5, 5))
    low, high = difference(scores, scores, 0.9) or (0, 0)
    assert 0 < low < 0.1 * scores.mean() < high
    assert difference(scores, UNKNOWN) is None


def test_wrong_way_then_answers_are_held_against_their_own_questions() -> None:
    base = np.array([[0.0, 20.0], [60.0, 80.0], [np.nan, np.nan]])
    trait = np.array([[10.0, 9.0], [69.0, np.nan], [1.0, 1.0]])
    np.testing.assert_array_equal(wrong_way(trait, base), [[0, 1], [1, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(wrong_way_unsteered(base), [[1, 0], [1, 0], [np.nan, np.nan]])
    np.testing.assert_array_equal(wrong_way_unsteered(np.array([[50.0]])), [[np.nan]])


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    st.lists(st.integers(-4, 4), min_size=1, max_size=12),
)
def test_auroc_is_the_chance_that_a_positive_is_above_a_negative(positive: list[int], negative: list[int]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    value = auroc(np.array(positive, np.float32), np.array(negative, np.float32))
    assert value == pytest.approx(sum(pairs) / len(pairs))


def test_drift_then_is_the_difference_and_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    trials = []
    for _ in range(2000):
        recent, earlier = mean_of(rng.normal(1.0, 0.5, 20).tolist()), mean_of(rng.normal(0.7, 0.3, 50).tolist())
        assert recent is not None and earlier is not None
        trials.append(drift(recent, earlier))
    differences, errors = np.array(trials, dtype=float).T
    assert differences.mean() == pytest.approx(0.3, abs=0.02)
    assert errors.mean() == pytest.approx(differences.std(), rel=0.05)


def test_a_mean_of_few_values_then_has_no_standard_error() -> None:
    assert mean_of([]) is None and mean_of([2.0]) == Mean(1, 2.0, None)
    assert drift(Mean(1, 2.0, None), Mean(5, 1.0, 0.1)) == (1.0, None)

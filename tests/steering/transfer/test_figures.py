"""Recovery, its interval, and what chance makes of cosines."""

import numpy as np
import pytest

from proxy.steering.transfer.figures import cosine, mean_of, permutation_p, recovery, summary

NONE = np.array([[0.0, 10.0], [20.0, 10.0], [0.0, 20.0], [10.0, 10.0]])  # mean 10


def test_recovery_then_it_is_the_share_of_what_the_native_vector_adds() -> None:
    found = summary(recovery(NONE + 30, NONE, NONE + 40))
    assert found is not None
    assert found.mean == pytest.approx(0.75) and found.low == found.high == pytest.approx(0.75)
    back = summary(recovery(NONE, NONE, NONE + 40))
    assert back is not None and back.mean == 0


def test_recovery_when_questions_differ_then_the_interval_holds_what_other_questions_would_have_made_of_it() -> None:
    native = NONE + np.array([[80.0], [10.0], [60.0], [50.0]])
    moved = NONE + np.array([[80.0], [0.0], [20.0], [50.0]])
    found = summary(recovery(moved, NONE, native))
    assert found is not None and found.mean == pytest.approx(150 / 200)
    assert found.low < 0.6 and 0.9 < found.high <= 1.0


def test_recovery_when_arms_have_samples_of_their_own_number_then_each_counts_by_its_own_mean() -> None:
    moved = np.full((4, 5), 30.0)
    moved[0, 0] = np.nan  # could not be scored
    found = summary(recovery(moved, NONE, np.full((4, 1), 50.0)))
    assert found is not None and found.mean == pytest.approx(0.5)


@pytest.mark.parametrize("native", [NONE, NONE - 5, NONE + np.array([[40.0], [-40.0], [30.0], [-20.0]])])
def test_recovery_when_the_native_vector_does_nothing_for_certain_then_there_is_none(native: np.ndarray) -> None:
    assert recovery(NONE + 30, NONE, native) is None
    assert summary(None) is None


def test_mean_of_then_poles_without_a_recovery_do_not_count_and_the_interval_is_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    native = np.full((30, 2), 100.0)
    none = np.zeros((30, 2))
    both = [recovery(100.0 * (rng.random((30, 2)) < 0.5), none, native) for _ in range(2)]
    one, two, mean = (summary(each) for each in (*both, mean_of([*both, None])))
    assert one and two and mean and mean.mean == pytest.approx((one.mean + two.mean) / 2, abs=1e-3)
    assert mean.high - mean.low < max(one.high - one.low, two.high - two.low)
    assert mean_of([None, None]) is None


def test_cosine_then_length_does_not_matter() -> None:
    assert cosine(np.array([3.0, 4.0], np.float32), np.array([30.0, 40.0], np.float32)) == 1
    assert cosine(np.array([1.0, 0.0], np.float32), np.array([-1.0, 1.0], np.float32)) == pytest.approx(-0.7071)


def test_permutation_p_then_only_directions_that_belong_together_are_rare() -> None:
    assert permutation_p(np.eye(8), 0) < 0.001
    assert permutation_p(np.full((8, 8), 0.9), 0) == 1.0
    assert permutation_p(np.roll(np.eye(8), 1, axis=0), 0) > 0.5

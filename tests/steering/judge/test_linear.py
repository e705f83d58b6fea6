"""The linear reading: directions that tell conditions apart, and none where nothing does."""

import numpy as np

from proxy.steering.judge.linear import find_directions
from vector_store import Condition

CONDITIONS: list[Condition] = ["positive", "negative", "neutral"] * 4


def test_find_directions_when_a_feature_differs_then_it_is_found_among_noise() -> None:
    states = np.random.default_rng(0).standard_normal((12, 50)).astype(np.float32)
    states[:, 7] = [{"positive": 9.0, "negative": -9.0, "neutral": 0.0}[condition] for condition in CONDITIONS]
    found = find_directions(states, CONDITIONS)
    assert np.abs(found.axes[0]).argmax() == 7
    along = found.along(states)[:, 0]
    assert min(along[::3]) > max(along[2::3]) and min(along[2::3]) > max(along[1::3])


def test_find_directions_when_all_answers_read_alike_then_there_are_none() -> None:
    found = find_directions(np.ones((12, 50), np.float32), CONDITIONS)
    assert not found.axes.any() and np.isfinite(found.along(np.ones((1, 50), np.float32))).all()


def test_find_directions_when_a_condition_is_missing_then_its_axes_are_zero_and_the_others_stand() -> None:
    states = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    found = find_directions(states, ["positive", "negative"] * 4)
    assert found.axes[0].any() and not found.axes[1].any() and not found.axes[2].any()

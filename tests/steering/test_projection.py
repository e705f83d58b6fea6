"""A projection is 0 at the neutral mean and 1 at the pole's own, at a block where the text alone decides it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.base import Probe
from proxy.steering.projection import block_to_watch, calibrated, watch
from tests.steering.test_plan import HIDDEN, vector

SEPARATION = [0.6, 0.992, 0.98, 1.0]


def read(probe: Probe, residual: np.ndarray) -> float:
    return float(residual @ probe.direction) - probe.offset


@pytest.mark.parametrize("side", ["positive", "negative"])
def test_a_projection_then_is_0_at_the_neutral_mean_1_at_the_pole_s_and_blind_to_all_else(side: str) -> None:
    v = vector(separation={"response": SEPARATION})
    watched = watch("silly", v, side, deepest=3)  # type: ignore[arg-type]
    assert watched is not None and (watched.pole, watched.vector_id, watched.probe.block) == ("silly", v.id, 3)
    assert watched.separation == 1.0
    means = v.means["response"]
    neutral, pole = means["neutral"][3], means[side][3]  # type: ignore[index]
    assert read(watched.probe, neutral) == pytest.approx(0, abs=1e-5)
    assert read(watched.probe, pole) == pytest.approx(1, abs=1e-5)
    assert read(watched.probe, neutral + 2.5 * (pole - neutral)) == pytest.approx(2.5, abs=1e-5)
    elsewhere = np.random.default_rng(0).normal(size=HIDDEN)
    elsewhere -= (pole - neutral) * (elsewhere @ (pole - neutral)) / ((pole - neutral) @ (pole - neutral))
    assert read(watched.probe, neutral + elsewhere) == pytest.approx(0, abs=1e-4)


def test_a_projection_when_steered_from_the_opposite_pole_then_still_counts_from_the_neutral_mean() -> None:
    v = vector(separation={"response": SEPARATION})
    opposite = {side: dataclasses.replace(choice, against="opposite") for side, choice in v.poles.items()}
    one, other = (watch("silly", found, "positive", 3) for found in (v, dataclasses.replace(v, poles=opposite)))
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.probe.direction, other.probe.direction)


@pytest.mark.parametrize(("deepest", "block"), [(0, 0), (1, 1), (2, 1), (3, 3)])
def test_the_block_then_is_the_one_that_separates_best_of_those_allowed(deepest: int, block: int) -> None:
    assert block_to_watch(SEPARATION, deepest) == block


def test_the_block_when_several_are_as_good_then_is_the_deepest() -> None:
    assert block_to_watch([0.995, 1.0, 0.996, 0.5], 3) == 2


def test_the_block_when_nobody_measured_then_is_the_deepest_allowed() -> None:
    assert block_to_watch([], 2) == 2


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_a_direction_when_calibrated_then_its_gap_counts_1(seed: int, size: float) -> None:
    gap = (size * np.random.default_rng(seed).normal(size=HIDDEN)).astype(np.float32)
    direction = calibrated(gap)
    assert direction is not None and float(direction @ gap) == pytest.approx(1, rel=1e-4)


def test_a_vector_when_it_does_not_tell_where_answers_lie_then_there_is_no_projection() -> None:
    v = vector()
    only_prompts: dict[str, Any] = {"means": {"last_prompt": v.means["last_prompt"]}, "poles": {}}
    norms: dict[str, Any] = {"residual_norms": {"last_prompt": v.residual_norms["last_prompt"]}}
    same: Any = {**v.means["response"], "positive": v.means["response"]["neutral"]}
    neutral: Any = {span: {"neutral": means["neutral"]} for span, means in v.means.items()}
    for changed in (
        dataclasses.replace(v, **only_prompts, **norms),
        dataclasses.replace(v, means={**v.means, "response": same}),
        dataclasses.replace(v, means=neutral, difference=np.ones((v.n_layers, HIDDEN), np.float32)),
        dataclasses.replace(v, origin="transferred"),
    ):
        assert watch("silly", changed, "positive", deepest=3) is None

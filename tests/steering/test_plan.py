"""A plan does what its request says, at the strength the report says, and refuses what can't be done."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.engines.base import FloatArray, Intervention, ModelInfo, Plan
from proxy.errors import InvalidRequest, VectorUnavailable
from proxy.steering.options import PlanOptions, PlanReport
from proxy.steering.plan import build_plan
from vector_store import Condition, PersonaVector, PoleChoice, Side, Span

N_LAYERS, HIDDEN = 4, 16
INFO = ModelInfo("tiny", "qwen2", N_LAYERS, HIDDEN, 512, "abc", "transformers", "cpu", "float32")
SILLY = PoleChoice(block=1, span="last_prompt", positions="last_prompt", relative_dose=0.5, measured_range=(0, 1.5))
SERIOUS = PoleChoice(block=2, span="response", positions="response", relative_dose=0.25)


def vector(trait: str = "silly", seed: int = 1, **changes: Any) -> PersonaVector:
    rng = np.random.default_rng(seed)

    def means() -> dict[str, np.ndarray]:
        return {
            condition: rng.normal(size=(N_LAYERS, HIDDEN)).astype(np.float32)
            for condition in ("positive", "negative", "neutral")
        }

    fields: dict[str, Any] = dict(
        model_id="tiny",
        fingerprint="abc",
        trait=trait,
        positive=trait,
        negative=f"not {trait}",
        n_layers=N_LAYERS,
        hidden_size=HIDDEN,
        created="2025-01-01T00:00:00Z",
        software_version="1",
        method="test",
        id=f"{trait}-1",
        poles={"positive": SILLY, "negative": SERIOUS},
        means={"last_prompt": means(), "response": means()},
        residual_norms={
            "last_prompt": np.array([1, 2, 3, 4], np.float32),
            "response": np.array([10, 20, 30, 40], np.float32),
        },
    )
    return PersonaVector(**{**fields, **changes})


V, W = vector(), vector("honest", seed=2)
VECTORS: dict[str, tuple[PersonaVector, Side]] = {
    "silly": (V, "positive"),
    "serious": (V, "negative"),
    "honest": (W, "positive"),
}


def plan(personas: dict[str, float], **options: Any) -> tuple[Plan, PlanReport]:
    return build_plan(personas, VECTORS, PlanOptions(**options), INFO)


def unit(array: FloatArray) -> FloatArray:
    scaled: FloatArray = array / np.linalg.norm(array)
    return scaled


def added_by(item: Intervention) -> FloatArray:
    assert item.vector is not None
    return item.vector


def held_by(item: Intervention) -> tuple[FloatArray, FloatArray]:
    """Its basis and its levels."""
    assert item.basis is not None and item.levels is not None
    return item.basis, item.levels


def only(result: Plan) -> Intervention:
    [item] = result.interventions
    return item


def test_coefficient_1_when_added_then_is_the_pole_s_dose_along_its_own_direction() -> None:
    result, report = plan({"silly": 1.0})
    item = only(result)
    assert (item.block, item.positions, item.mode) == (1, "last_prompt", "add")
    expected = 0.5 * 2 * unit(V.direction("positive", "last_prompt", 1))
    np.testing.assert_allclose(added_by(item), expected, rtol=1e-5)
    assert report.relative_dose == pytest.approx(0.5) and report.layers == (1,) and report.positions == "last_prompt"


def test_a_negative_coefficient_then_is_the_opposite_pole_at_the_positive_one() -> None:
    for mode in ("add", "target", "cap"):
        for coefficient in (0.5, 2.0):
            there, back = plan({"silly": -coefficient}, mode=mode), plan({"serious": coefficient}, mode=mode)
            assert there[0].fingerprint == back[0].fingerprint
            assert SERIOUS.block == only(there[0]).block
    assert plan({"serious": -1.0})[0].fingerprint == plan({"silly": 1.0})[0].fingerprint


def test_no_personas_and_coefficient_0_then_nothing_is_added() -> None:
    assert plan({}) == (Plan(), PlanReport())
    result, report = plan({"silly": 0.0})
    assert result == Plan() and report.relative_dose == 0 and report.layers == ()


def test_target_when_the_direction_is_counted_from_the_opposite_pole_then_level_1_is_the_pole_s_mean() -> None:
    choice = dataclasses.replace(SILLY, span="response", positions="response", against="opposite")
    v = vector(poles={"positive": choice, "negative": SERIOUS})
    held = only(build_plan({"silly": 1.0}, {"silly": (v, "positive")}, PlanOptions(mode="target"), INFO)[0])
    means = v.means["response"]
    pole, other = means["positive"][choice.block], means["negative"][choice.block]
    assert held.basis is not None and held.levels is not None
    np.testing.assert_allclose(held.basis[0], (pole - other) / np.linalg.norm(pole - other), rtol=1e-5)
    assert held.levels[0] == pytest.approx(float(pole @ held.basis[0]), rel=1e-4)


@pytest.mark.parametrize("mode", ["target", "cap"])
@pytest.mark.parametrize("coefficient", [0.0, 1.0, 1.5])
def test_a_level_when_held_then_is_measured_from_the_neutral_mean(mode: Any, coefficient: float) -> None:
    item = only(plan({"silly": coefficient}, mode=mode)[0])
    direction = unit(V.direction("positive", "last_prompt", 1))
    neutral = V.means["last_prompt"]["neutral"][1]
    assert item.mode == mode and item.basis is not None and item.levels is not None
    np.testing.assert_allclose(item.basis, direction[None], rtol=1e-5)
    gap = float(np.linalg.norm(V.direction("positive", "last_prompt", 1)))
    np.testing.assert_allclose(item.levels, [direction @ neutral + coefficient * gap], rtol=1e-4)


@pytest.mark.parametrize(
    ("positions", "span"),
    [(None, "last_prompt"), ("last_prompt", "last_prompt"), ("response", "response"), ("all", "response")],
)
def test_level_1_then_is_the_pole_s_own_mean_over_the_kind_of_tokens_held(positions: Any, span: Any) -> None:
    """Read after the intervention, the neutral mean lies where the pole's own does."""
    held = plan({"silly": 1.0}, mode="target", positions=positions)[0]
    means = V.means[span]
    reading = unit(V.direction("positive", span, 1))
    moved = apply_at_last_prompt_token(held, means["neutral"][1])
    assert reading @ moved == pytest.approx(reading @ means["positive"][1], abs=1e-4)
    np.testing.assert_allclose(moved, means["positive"][1], atol=1e-4)  # nothing else lies between the two
    opposed = plan({"silly": -1.0}, mode="target", layers=[1], positions=positions or "last_prompt")[0]
    moved = apply_at_last_prompt_token(opposed, means["neutral"][1])
    np.testing.assert_allclose(moved, means["negative"][1], atol=1e-4)


def test_level_1_when_nobody_knows_the_pole_s_mean_then_is_where_coefficient_1_takes_the_neutral_one() -> None:
    neutral: dict[Span, dict[Condition, FloatArray]] = {
        span: {"neutral": means["neutral"]} for span, means in V.means.items()
    }
    difference = V.direction("positive", "response", 0)[None].repeat(N_LAYERS, axis=0)
    imported = dataclasses.replace(V, means=neutral, difference=difference)
    for vector in (imported, dataclasses.replace(V, origin="transferred")):
        used: dict[str, tuple[PersonaVector, Side]] = {"silly": (vector, "positive")}
        added, held = (
            only(build_plan({"silly": 1.0}, used, PlanOptions(mode=mode), INFO)[0]) for mode in ("add", "target")
        )
        moved = V.means["last_prompt"]["neutral"][1] + added_by(added)
        basis, levels = held_by(held)
        np.testing.assert_allclose(basis @ moved, levels, rtol=1e-4)


def test_named_layers_then_share_the_dose_of_an_addition_but_not_a_level() -> None:
    result, report = plan({"silly": 1.0}, layers=[3, 0])
    assert [item.block for item in result.interventions] == list(report.layers) == [0, 3]
    for item in result.interventions:
        norm = V.residual_norms["last_prompt"][item.block]
        np.testing.assert_allclose(
            added_by(item), 0.25 * norm * unit(V.direction("positive", "last_prompt", item.block)), rtol=1e-5
        )
    assert report.relative_dose == pytest.approx(0.25)
    gaps = [np.linalg.norm(V.direction("positive", "last_prompt", block)) for block in (0, 3)]
    ways = [gap / V.residual_norms["last_prompt"][block] for gap, block in zip(gaps, (0, 3), strict=True)]
    held = plan({"silly": 1.0}, layers=[3, 0], mode="target")[1]
    assert held.relative_dose == pytest.approx(max(ways), rel=1e-4)


@pytest.mark.parametrize("layers", [[4], [0, 99], [-1]])
def test_layers_when_the_model_lacks_them_then_the_error_says_which_there_are(layers: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="0 to 3") as caught:
        plan({"silly": 1.0}, layers=layers)
    assert caught.value.param == "steering.layers"


def test_positions_when_asked_for_then_replace_the_vector_s_own() -> None:
    result, report = plan({"silly": 1.0}, positions="all")
    assert only(result).positions == report.positions == "all"


@pytest.mark.parametrize(
    ("asked", "limit", "reported"),
    [
        (["final"], {"content"}, ("final",)),
        (["analysis", "analysis"], {"reasoning"}, ("analysis",)),
        (["final", "analysis"], None, None),
    ],
)
def test_channels_when_not_all_then_limit_the_plan_and_are_reported(asked: Any, limit: Any, reported: Any) -> None:
    result, report = plan({"silly": 1.0}, channels=asked)
    assert (result.channels, report.channels) == (limit, reported)
    assert (result.fingerprint == plan({"silly": 1.0})[0].fingerprint) == (limit is None)


def test_several_personas_at_one_place_then_their_additions_are_one() -> None:
    both = added_by(only(plan({"silly": 1.0, "honest": 0.5})[0]))
    each = [added_by(only(plan({name: value})[0])) for name, value in (("silly", 1.0), ("honest", 0.5))]
    np.testing.assert_allclose(both, np.sum(each, axis=0), rtol=1e-4, atol=1e-6)


def test_the_dose_of_several_personas_then_is_of_what_one_token_feels_in_all() -> None:
    report = plan({"silly": 1.0, "honest": 1.0})[1]
    total = sum(unit(v.direction("positive", "last_prompt", 1)) for v in (V, W))
    assert report.relative_dose == pytest.approx(0.5 * float(np.linalg.norm(total)), rel=1e-4)
    twice = build_plan(
        {"silly": 1.0, "same": 1.0},
        {
            "silly": (V, "positive"),
            "same": (
                vector(poles={"positive": dataclasses.replace(SILLY, positions="response"), "negative": SERIOUS}),
                "positive",
            ),
        },
        PlanOptions(),
        INFO,
    )
    assert len(twice[0].interventions) == 2 and twice[1].relative_dose == pytest.approx(1.0, rel=1e-4)


def apply_at_last_prompt_token(result: Plan, hidden: np.ndarray) -> np.ndarray:
    for item in result.interventions:
        basis, levels = held_by(item)
        deficit = levels - basis @ hidden
        if item.mode == "cap":
            deficit = np.minimum(deficit, 0)
        hidden = hidden + np.linalg.pinv(item.basis) @ deficit  # type: ignore[arg-type]
    return hidden


@given(st.integers(0, 10_000), st.sampled_from(["target", "cap"]))
@settings(max_examples=30)
def test_several_personas_when_held_then_none_undoes_another(seed: int, mode: Any) -> None:
    place = dataclasses.replace(SILLY, positions="response")
    vectors: dict[str, tuple[PersonaVector, Side]] = {
        "silly": (vector(seed=seed), "positive"),
        "honest": (vector("honest", seed + 1, poles={"positive": place}), "positive"),
        "deep": (vector("deep", seed + 2), "positive"),
    }
    options = PlanOptions(mode=mode)
    result, _ = build_plan({"silly": 1.0, "honest": 0.5, "deep": 0.0}, vectors, options, INFO)
    hidden = np.random.default_rng(seed).normal(size=HIDDEN, scale=5)
    moved = apply_at_last_prompt_token(result, hidden)
    held: list[tuple[str, float, Span]] = [
        ("silly", 1.0, "last_prompt"),
        ("honest", 0.5, "response"),
        ("deep", 0.0, "last_prompt"),
    ]
    for name, coefficient, span in held:
        taken = vectors[name][0]
        gap = taken.direction("positive", span, 1)
        direction = unit(gap)
        level = direction @ taken.means[span]["neutral"][1] + coefficient * np.linalg.norm(gap)
        if mode == "target":
            assert direction @ moved == pytest.approx(level, abs=1e-3)
        else:
            assert direction @ moved <= level + 1e-3


@pytest.mark.parametrize("mode", ["target", "cap"])
def test_personas_when_they_point_the_same_way_then_they_can_t_be_held(mode: Any) -> None:
    vectors: dict[str, tuple[PersonaVector, Side]] = {"silly": (V, "positive"), "funny": (V, "positive")}
    with pytest.raises(InvalidRequest, match="same or opposite ways") as caught:
        build_plan({"silly": 1.0, "funny": 0.5}, vectors, PlanOptions(mode=mode), INFO)
    assert caught.value.param == "persona"
    assert build_plan({"silly": 1.0, "funny": 0.5}, vectors, PlanOptions(), INFO)[0].interventions


@given(st.floats(0.01, 2.0), st.floats(0.05, 1.5), st.sampled_from(["add", "target"]))
@settings(max_examples=50)
def test_a_dose_when_above_its_limit_then_is_reported_clamped_or_rejected(size: float, limit: float, mode: Any) -> None:
    gap = float(np.linalg.norm(V.direction("positive", "last_prompt", 1))) / 2
    dose = (0.5 if mode == "add" else gap) * size
    assume(abs(dose - limit) > 1e-5)
    options: dict[str, Any] = {"mode": mode, "max_relative_dose": limit}
    _, reported = plan({"silly": size}, **options)
    assert reported.relative_dose == pytest.approx(dose, rel=1e-4) and not reported.clamped
    result, clamped = plan({"silly": size}, on_exceed="clamp", **options)
    assert clamped.relative_dose == pytest.approx(min(dose, limit), rel=1e-4)
    assert clamped.clamped == (reported.relative_dose > limit)
    if mode == "add":
        assert float(np.linalg.norm(only(result).vector)) / 2 <= limit * 1.0001  # type: ignore[arg-type]
    if reported.relative_dose > limit:
        with pytest.raises(InvalidRequest, match="max_relative_dose") as caught:
            plan({"silly": size}, on_exceed="reject", **options)
        assert caught.value.param == "steering.max_relative_dose"
    else:
        assert not plan({"silly": size}, on_exceed="reject", **options)[1].clamped


def test_a_cap_when_high_then_is_no_excess() -> None:
    result, report = plan({"silly": 2.0}, mode="cap", max_relative_dose=0.1, on_exceed="reject")
    assert not report.clamped
    assert result.fingerprint == plan({"silly": 2.0}, mode="cap")[0].fingerprint


@pytest.mark.parametrize(
    ("personas", "options", "beyond"),
    [
        ({"silly": 1.5}, {}, False),
        ({"silly": 1.6}, {}, True),
        ({"silly": 1.6}, {"on_exceed": "clamp", "max_relative_dose": 0.5}, False),
        ({"serious": 1.0}, {}, None),
        ({"silly": -1.0}, {}, None),
        ({"silly": 1.6, "serious": 1.0}, {}, True),
        ({"silly": 1.0, "serious": 1.0}, {}, None),
        ({"silly": 1.0}, {"layers": [1]}, False),
        ({"silly": 1.0}, {"layers": [2]}, True),
        ({"silly": 1.0}, {"layers": [1, 2]}, True),
        ({"silly": 1.0}, {"positions": "all"}, True),
        ({"silly": 1.0}, {"positions": "last_prompt"}, False),
        ({"silly": 1.0, "serious": 1.0}, {"positions": "last_prompt"}, True),
        ({"serious": 1.0}, {"positions": "all"}, True),
        ({"silly": 1.0}, {"mode": "target"}, True),
        ({"silly": 1.0}, {"channels": ["final"]}, True),
        ({"silly": 1.0}, {"channels": ["final", "analysis"]}, False),
        ({}, {"positions": "all"}, None),
    ],
)
def test_what_was_never_measured_then_is_beyond_the_measured_range(
    personas: dict[str, float], options: dict[str, Any], beyond: bool | None
) -> None:
    assert plan(personas, **options)[1].beyond_measured_range is beyond


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "other"},
        {"poles": {}},
        {"poles": {"negative": SERIOUS}},
    ],
)
def test_a_vector_when_of_other_weights_or_without_a_place_then_is_unavailable(changed: dict[str, Any]) -> None:
    with pytest.raises(VectorUnavailable) as caught:
        build_plan({"silly": 1.0}, {"silly": (vector(**changed), "positive")}, PlanOptions(), INFO)
    assert caught.value.param == "persona"


def test_a_vector_when_it_has_no_direction_then_is_unavailable() -> None:
    means = {condition: np.ones((N_LAYERS, HIDDEN), np.float32) for condition in ("positive", "negative", "neutral")}
    flat = vector(means={"last_prompt": means, "response": means})
    with pytest.raises(VectorUnavailable, match="block 1"):
        build_plan({"silly": 1.0}, {"silly": (flat, "positive")}, PlanOptions(), INFO)

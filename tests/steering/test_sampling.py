"""What personas do to sampling parameters: the documented formulas, within limits, scaled by what was measured."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.base import Sampling
from proxy.steering.sampling import AskedSampling, Modulation, modulation, sample, strength
from vector_store import CurvePoint, PoleChoice, Side, VectorHeader


def point(side: Side, kind: Any, score: float) -> CurvePoint:
    return CurvePoint(
        side=side,
        kind=kind,
        block=None,
        span=None,
        positions=None,
        relative_dose=0,
        trait=0,
        coherence=0,
        score=score,
        n=1,
    )


def header(score: float | None = None, base: float | None = None, model: str = "tiny") -> VectorHeader:
    choice = PoleChoice(block=1, span="response", positions="response", relative_dose=1.0, score=score)
    curve = [point("negative", "unsteered", 0.9), point("positive", "random", 0.8)]
    return VectorHeader(
        model_id=model,
        fingerprint="f",
        trait="silly",
        positive="silly",
        negative="serious",
        n_layers=2,
        hidden_size=2,
        created="",
        software_version="",
        method="",
        poles={"positive": choice},
        curve=curve if base is None else [*curve, point("positive", "unsteered", base)],
        id=f"v-{model}",
    )


@pytest.mark.parametrize(
    ("score", "base", "expected"),
    [(None, 0.2, 1.0), (0.8, None, 0.8), (0.6, 0.2, 0.5), (1.0, 0.2, 1.0), (0.1, 0.2, 0.0), (1.0, 1.0, 0.0)],
)
def test_strength_is_how_much_of_the_way_from_the_base_rate_was_gone(
    score: float | None, base: float | None, expected: float
) -> None:
    assert strength(header(score, base), "positive") == pytest.approx(expected)


def test_strength_when_the_pole_was_never_measured_then_is_1() -> None:
    assert strength(header(0.5), "negative") == 1.0


def drawn(personas: dict[str, float], score: float = 0.5, **given: Any) -> Sampling:
    own, other = header(score), header()
    sources: dict[str, tuple[VectorHeader, Side]] = {
        "silly": (own, "positive"),
        "serious": (own, "negative"),
        "odd": (other, "positive"),
    }
    return sample(9, AskedSampling(**given), modulation(personas, sources))[0]


def test_positive_poles_then_are_livelier_and_negative_ones_calmer_by_the_measured_strength() -> None:
    assert drawn({"silly": 1.0}) == Sampling(9, temperature=0.85, top_p=0.8, repetition_penalty=1.05)
    assert drawn({"silly": -1.0}) == drawn({"serious": 1.0}) == Sampling(9, 0.4, 0.7, repetition_penalty=1.1)
    assert drawn({"serious": -1.0}) == drawn({"silly": 1.0})


def test_several_personas_then_their_effects_add_up() -> None:
    assert drawn({"silly": 1.0, "odd": 0.5}) == Sampling(9, temperature=1.0, top_p=0.7, repetition_penalty=1.1)
    opposed = drawn({"silly": 1.0, "odd": -0.5})
    assert (opposed.temperature, opposed.top_p, opposed.repetition_penalty) == (0.7, 0.7, 1.1)


def test_what_the_request_gives_then_is_the_base_and_all_else_is_kept() -> None:
    result = drawn({"odd": 1.0}, temperature=0.2, top_p=1.0, repetition_penalty=1.2, top_k=5, min_p=0.1)
    assert result == Sampling(9, temperature=0.5, top_p=0.8, repetition_penalty=1.3, top_k=5, min_p=0.1)


def test_no_personas_then_the_request_s_own_sampling() -> None:
    assert sample(9, AskedSampling(top_p=0.5), None) == (Sampling(9, top_p=0.5), False)


@given(
    st.floats(-8, 8),
    st.floats(0, 8),
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "repetition_penalty": st.floats(0.1, 3),
        },
    ),
)
@settings(max_examples=60)
def test_any_strength_then_the_parameters_stay_valid_and_a_limit_is_told(
    effect: float, more: float, given_: dict[str, Any]
) -> None:
    change = Modulation(effect, abs(effect) + more)
    result, clamped = sample(9, AskedSampling(**given_), change)
    base = given_.get("repetition_penalty", 1.0)
    assert 0 <= result.temperature <= 2 and 0 <= result.top_p <= 1 and min(1, base) <= result.repetition_penalty
    assert result.top_p >= min(0.05, given_.get("top_p", 0.9)) - 1e-6
    moved = given_.get("temperature", 0.7) + 0.3 * effect
    if not clamped:
        assert result.temperature == pytest.approx(moved, abs=1e-5)
    assert clamped or -1e-6 <= moved <= 2 + 1e-6


def test_a_limit_when_passed_then_is_told_and_only_then() -> None:
    assert sample(9, AskedSampling(), Modulation(1.0, 1.0))[1] is False
    assert sample(9, AskedSampling(temperature=0.2), Modulation(-1.0, 1.0)) == (
        Sampling(9, temperature=0.0, top_p=0.7, repetition_penalty=1.1),
        True,
    )

"""Coefficient 1 by the rule: the smallest dose that does nearly all of what answers survive, whatever it was before."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.steering.statistics import Scores
from proxy.steering.sweep.calibration import AS_IT_IS, ON_TOP, Level, reach, strength

N_QUESTIONS, N_SAMPLES = 10, 4
UNKNOWN = np.full((N_QUESTIONS, N_SAMPLES), np.nan)


def table(value: float) -> Scores:
    """Every answer alike."""
    return np.full((N_QUESTIONS, N_SAMPLES), float(value))


def level(coefficient: float, trait: float, coherence: float = 100.0, correct: float | None = None) -> Level:
    right = UNKNOWN if correct is None else table(correct)
    return Level(coefficient, table(trait), table(coherence), right, UNKNOWN, UNKNOWN)


BASE = level(0, 0)


def thermostat(dose: float, saturation: float, collapse: float) -> tuple[float, float]:
    """Trait and coherence of an idealised model: trait rises to its most at one dose, coherence breaks at another."""
    return 100 * min(dose / saturation, 1.0), 100.0 if dose < collapse else 20.0


def swept(unit: float, saturation: float, collapse: float) -> list[Level]:
    """The idealised model at the usual coefficients, coefficient 1 being the dose `unit`."""
    return [level(c, *thermostat(c * unit, saturation, collapse)) for c in np.arange(0.25, 2.01, 0.25)]


@settings(max_examples=30)
@given(st.floats(0.5, 1.5), st.floats(0.3, 3.0))
def test_strength_when_the_trait_is_saturated_long_before_collapse_then_it_is_where_it_saturates(
    unit: float, collapse: float
) -> None:
    saturation = 0.6 * collapse
    assume(saturation + 0.25 * unit <= collapse <= 2 * unit)
    found, _ = strength(swept(unit, saturation, collapse), BASE, truthful=True)
    assert found is not None
    # Lines between coefficients cut the corner of the curve by less than a step.
    most = max(ON_TOP * (saturation + 0.25 * unit), unit * (1 + AS_IT_IS))
    assert 0.95 * (1 - AS_IT_IS) * saturation <= found * unit <= most and found * unit < collapse


@settings(max_examples=30)
@given(st.floats(0.4, 1.2))
def test_strength_when_the_trait_rises_until_answers_fall_apart_then_it_is_just_before(collapse: float) -> None:
    levels = swept(1.0, 10.0, collapse)
    last = max((item.coefficient for item in levels if item.coefficient < collapse), default=0.0)
    found, _ = strength(levels, BASE, truthful=True)
    expected = 0.95**0.5 * last
    kept = abs(expected - 1) < AS_IT_IS and collapse > 1
    assert found is not None and found < collapse
    assert found == (1.0 if kept else pytest.approx(expected))


@settings(max_examples=30)
@given(st.floats(0.3, 1.6), st.floats(0.4, 1.4), st.floats(0.1, 1.2))
def test_strength_when_a_calibrated_vector_is_swept_again_then_it_is_1_again(
    unit: float, saturation: float, beyond: float
) -> None:
    """The dose that is 1 stays, but for what another grid reads off the same curve."""
    collapse = saturation + beyond
    # Neither what was never seen nor what happens between two coefficients can count.
    assume(min(saturation, collapse) < 1.9 * unit and 0.25 * unit < min(0.5 * saturation, beyond))
    once, _ = strength(swept(unit, saturation, collapse), BASE, truthful=True)
    if once is None:
        return
    twice, _ = strength(swept(unit * once, saturation, collapse), BASE, truthful=True)
    assert twice is not None and 0.7 < twice < 1.35


@pytest.mark.parametrize("unit", [0.4, 0.6, 0.9, 1.2])
def test_strength_when_vectors_differ_in_strength_alone_then_the_same_dose_is_1(unit: float) -> None:
    found, said = strength(swept(unit, 0.6, 5.0), BASE, truthful=True)
    assert found is not None and found * unit == pytest.approx(ON_TOP * 0.57, rel=0.15)
    assert ("was right" in said) == (found == 1.0) != ("1 was set to what " in said)


def test_strength_when_the_trait_was_still_rising_then_it_says_that_more_may_come() -> None:
    assert "more may come" in strength(swept(1.0, 10.0, 30.0), BASE, truthful=True)[1]
    assert "more may come" not in strength(swept(1.0, 10.0, 1.6), BASE, truthful=True)[1]
    assert "more may come" not in strength(swept(1.0, 0.5, 30.0), BASE, truthful=True)[1]


def test_strength_when_answers_fall_apart_at_once_then_it_can_not_be_said() -> None:
    found, said = strength([level(0.25, 100, 10), level(0.5, 100, 100)], BASE, truthful=True)
    assert found is None and "fall apart at 0.25, the smallest" in said


def test_strength_when_steering_shows_nothing_then_it_can_not_be_said() -> None:
    def noise(coefficient: float) -> Level:
        return Level(coefficient, rng.normal(50, 20, (N_QUESTIONS, N_SAMPLES)), table(100), UNKNOWN, UNKNOWN, UNKNOWN)

    verdicts = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        verdicts.append(strength([noise(c) for c in np.arange(0.25, 2.01, 0.25)], noise(0), truthful=True))
    assert sum(found is not None for found, _ in verdicts) <= 3  # the best of eight looks good by chance now and then
    assert all("no more of it than no steering" in said for found, said in verdicts if found is None)
    assert strength([level(1, 20)], level(0, 80), truthful=True)[0] is None


def test_strength_when_nothing_shows_before_answers_fall_apart_then_1_is_no_more_than_the_last_that_holds() -> None:
    levels = [level(0.6, 0), level(1.2, 90, coherence=50)]
    found, said = strength(levels, BASE, truthful=True)
    assert found == 0.6 and "no more of it than no steering" in said
    assert strength(levels, BASE, truthful=True, keep=True)[0] is None


@pytest.mark.parametrize(
    ("coherences", "expected"),
    [
        ([100, 100, 100], (0.75, None)),
        ([100, 96, 94], (0.5, 0.75)),
        ([100, 60, 100], (0.25, 0.5)),
        ([60, 100, 100], (0.0, 0.25)),
    ],
)
def test_reach_then_it_ends_at_the_first_gap(coherences: list[float], expected: tuple[float, float | None]) -> None:
    levels = [level(c, 50, coherence) for c, coherence in zip((0.25, 0.5, 0.75), coherences, strict=True)]
    assert reach(reversed(levels), BASE, truthful=True) == expected


def test_reach_when_facts_turn_false_then_it_ends_unless_that_is_what_was_asked_for() -> None:
    levels, base = [level(0.5, 50, 100, 1.0), level(1, 50, 100, 0.5)], level(0, 0, 100, 1.0)
    assert reach(levels, base, truthful=True) == (0.5, 1)
    assert reach(levels, base, truthful=False) == (1, None)


def test_reach_when_a_few_answers_are_worse_by_chance_then_it_goes_on() -> None:
    scattered = table(100)
    scattered[[1, 4, 7], [0, 2, 3]] = 0  # 3 of 40: below 95 %, but not for certain
    assert reach([Level(1, table(50), scattered, UNKNOWN, UNKNOWN, UNKNOWN)], BASE, truthful=True) == (1, None)


def test_reach_when_answers_are_much_worse_but_too_few_to_be_certain_then_it_ends() -> None:
    few = table(100)[:5, :1].copy()
    few[[0, 2]] = 40  # 76 on average, and by its interval up to 100
    unknown = np.full((5, 1), np.nan)
    base = Level(0, few * 0, few * 0 + 100, unknown, unknown, unknown)
    assert reach([Level(1, few, few, unknown, unknown, unknown)], base, truthful=True) == (0, 1)


def test_reach_when_the_judge_could_hardly_score_then_it_ends() -> None:
    hardly = table(100)
    hardly[:, 1:] = np.nan
    assert reach([Level(1, table(50), hardly, UNKNOWN, UNKNOWN, UNKNOWN)], BASE, truthful=True) == (0, 1)
    assert reach([Level(1, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)], BASE, truthful=True) == (0, 1)

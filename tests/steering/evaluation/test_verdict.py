"""Verdicts: one rule after the other, and that it is the first that holds which counts."""

import dataclasses
from dataclasses import replace

import pytest

from proxy.steering.evaluation.verdict import WARNED, WORDS, Evidence, Interval, Steered, verdict_of, verdict_of_curve
from tests.vector_store.test_sweep import SWEEP
from vector_store import Measured, Sweep, SweepKind, Verdict

UP, FLAT, DOWN = (5.0, 30.0), (-5.0, 9.0), (-30.0, -5.0)
GOOD = Steered(UP, UP, UP, 1.0)
USELESS = Steered(FLAT, FLAT, FLAT, 1.0)
UNASKED: dict[str, Interval | None] = {"system prompt": FLAT, "demonstrations": FLAT}


def found(one: Steered, *, two: Steered = USELESS, unsteered: float | None = 20.0, scored: bool = True) -> Evidence:
    return Evidence(scored, unsteered, {1.0: one, 2.0: two}, UNASKED)


@pytest.mark.parametrize(
    ("evidence", "expected", "because"),
    [
        (found(GOOD, scored=False), "unscored", "can't tell"),
        (found(GOOD, unsteered=None), "unscored", "can't tell"),
        (found(USELESS, unsteered=80.0), "by_itself", "80 of 100 already"),
        (found(replace(USELESS, above_unsteered=DOWN), unsteered=80.0), "nothing", "above no steering"),
        (found(USELESS, unsteered=79.9), "nothing", "above no steering, nor does it show more by system prompt or"),
        (found(GOOD), "steers", "every control"),
        (found(replace(GOOD, above_wrong_trait=None)), "steers", "every control"),
        (found(replace(GOOD, coherent=0.9)), "steers", "hold together"),
        (found(replace(GOOD, coherent=0.89)), "weak", "at 1, but at coefficient 1 coherence is 89%"),
        (found(replace(GOOD, coherent=0.74)), "nothing", "coherence is 74%"),
        (found(replace(GOOD, looping=0.49)), "steers", "hold together"),
        (found(replace(GOOD, looping=0.5)), "weak", "at coefficient 1 50% of the answers go round in circles"),
        (found(replace(GOOD, above_wrong_trait=FLAT)), "weak", "not certain to be above other traits'"),
        (found(replace(GOOD, above_random=FLAT)), "nothing", "not certain to be above random"),
        (found(replace(GOOD, above_random=None)), "weak", "not certain to be above random"),
        (found(USELESS, two=GOOD), "weak", "more at 2, but at coefficient 1 it is not certain to be above no steering"),
        (found(USELESS, two=replace(GOOD, coherent=0.75)), "weak", "more at 2"),
        (found(USELESS, two=replace(GOOD, coherent=0.74)), "nothing", "above no steering"),
        (found(USELESS, two=replace(GOOD, above_random=FLAT)), "nothing", "above no steering"),
        (Evidence(True, 20.0, {0.5: GOOD, 1.0: USELESS}, UNASKED), "nothing", "above no steering"),
        (Evidence(True, 20.0, {}, {}), "nothing", "nothing was asked at coefficient 1"),
    ],
)
def test_verdict_when_something_was_found_then_the_first_rule_that_holds(
    evidence: Evidence, expected: Verdict, because: str
) -> None:
    verdict, reason = verdict_of(evidence)
    assert (verdict, because in reason) == (expected, True), reason


def test_verdict_when_a_pole_can_be_had_then_it_is_told_how_much_shows_at_which_coefficient() -> None:
    faint, strong = replace(GOOD, shown=29.4), replace(GOOD, shown=95.0, coherent=0.5)
    for one, ends in (
        (faint, "hold together; it shows with 20 of 100 unsteered, 29 at 1, 95 at 2 with 50% of the coherence"),
        (replace(faint, looping=0.5), "circles; it shows with 20 of 100 unsteered, 29 at 1, 95 at 2 with 50% of the"),
    ):
        assert ends in verdict_of(found(one, two=strong))[1]
    assert "it shows with" not in verdict_of(found(USELESS, two=USELESS))[1]


@pytest.mark.parametrize("which", list(UNASKED))
def test_verdict_when_words_alone_work_then_it_is_the_vector_that_does_not(which: str) -> None:
    verdict, reason = verdict_of(replace(found(USELESS), asked={**UNASKED, which: UP}))
    assert verdict == "prompt_only" and f"asked for by {which} it shows more" in reason
    assert verdict_of(replace(found(GOOD), asked={**UNASKED, which: UP}))[0] == "steers"
    assert verdict_of(replace(found(USELESS, two=GOOD), asked={**UNASKED, which: UP}))[0] == "weak"


def test_words_then_each_verdict_has_some_and_only_the_hopeless_are_warned_of() -> None:
    assert set(WARNED) == {"prompt_only", "nothing"} and len(set(WORDS.values())) == len(WORDS) == 6


def swept(*points: tuple[SweepKind, float, float, float], scored: bool = True) -> Sweep:
    """A curve of points: kind, coefficient, trait, within 5 to either side, and coherence."""
    made = [
        dataclasses.replace(
            SWEEP.points[0],
            kind=kind,
            coefficient=coefficient,
            trait=Measured(mean=trait, low=trait - 5, high=trait + 5),
            coherence=Measured(mean=coherence, low=coherence, high=coherence),
        )
        for kind, coefficient, trait, coherence in points
    ]
    return dataclasses.replace(SWEEP, points=made, judge=dataclasses.replace(SWEEP.judge, scored=scored))


def test_verdict_of_a_curve_when_half_of_the_answers_loop_then_it_is_weak_at_most() -> None:
    curve = swept(NONE, RANDOM, ("steered", 1.03, 60.0, 100.0))
    looping = Measured(mean=0.5, low=0.2, high=0.8)
    points = [dataclasses.replace(point, looping=looping) for point in curve.points]
    assert verdict_of_curve(curve) != verdict_of_curve(dataclasses.replace(curve, points=points))
    verdict, reason = verdict_of_curve(dataclasses.replace(curve, points=points)) or ("", "")
    assert verdict == "weak" and reason.endswith(
        "with 100% of the coherence, and 50% of the answers go round in circles"
    )


Point = tuple[SweepKind, float, float, float]
NONE: Point = ("unsteered", 0.0, 10.0, 100.0)
RANDOM: Point = ("random", 1.03, 20.0, 100.0)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (swept(NONE, RANDOM, ("steered", 1.03, 60.0, 91.0)), "steers"),
        (swept(NONE, RANDOM, ("wrong_trait", 1.03, 58.0, 100.0), ("steered", 1.03, 60.0, 91.0)), None),
        (swept(NONE, RANDOM, ("steered", 1.03, 60.0, 89.0)), "weak"),
        (swept(NONE, RANDOM, ("steered", 1.03, 60.0, 70.0)), None),
        (swept(NONE, RANDOM, ("steered", 1.03, 29.0, 100.0)), None),
        (swept(NONE, ("steered", 1.03, 60.0, 100.0)), None),
        (swept(NONE, ("random", 2.0, 20.0, 99.0), ("steered", 2.0, 90.0, 95.0)), "weak"),
        (swept(NONE, ("random", 0.5, 20.0, 99.0), ("steered", 0.5, 90.0, 95.0)), None),
        (swept(NONE, RANDOM, ("steered", 1.03, 60.0, 91.0), scored=False), None),
    ],
)
def test_verdict_of_a_curve_when_intervals_lie_apart_then_what_it_allows_to_say(
    curve: Sweep, expected: Verdict | None
) -> None:
    found = verdict_of_curve(curve)
    assert (None if found is None else found[0]) == expected
    assert found is None or "by its curve alone" in found[1]

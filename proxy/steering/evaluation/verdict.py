"""One word for whether a pole can be had from a model, and why, from what its answers showed. Pure.

The rules, the first that holds:

1. *unscored*: the judge can't tell the poles apart, so nothing is known.
2. *by_itself*: unsteered answers show the pole with `SHOWN` of 100 or more, and coefficient 1 takes nothing certain
   away. There is hardly anything to add.
3. *steers*: at coefficient 1 the pole shows more than unsteered, more than with random directions, and more than with
   other traits' directions where there are any, each for certain, coherence is at least `COHERENT` of unsteered, and
   fewer than `LOOPED` of the answers go round in circles.
4. *weak*: at some coefficient from 1 on the pole shows more than unsteered, and more than with random directions where
   they were tried there, for certain, and coherence is at least `STILL_COHERENT` of unsteered; but rule 3 fails.
5. *prompt_only*: the pole's system prompt, alone or with demonstrations, brings more than unsteered, for certain. So
   words work in this model, and the vector does not.
6. *nothing*: none of these.

Certain is a 95 % interval of the difference, over questions, that lies above 0; over several coefficients, wider.
Knows no model, no judge and no answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vector_store import Measured, Sweep, SweepKind, Verdict

COHERENT = 0.9  # of the unsteered coherence, at coefficient 1
STILL_COHERENT = 0.75  # of it, at a larger one
LOOPED = 0.5  # of the answers: from there on a pole does not count as one that steers, whatever its coherence
SHOWN = 80.0  # of 100, by the model itself
NEAR_1 = 0.8  # a curve's coefficients that are as good as 1, up to one over it
Interval = tuple[float, float]
CONTROLS: dict[SweepKind, str] = {"random": "random directions", "wrong_trait": "other traits' directions"}

WORDS: dict[Verdict, str] = {
    "steers": "steers",
    "weak": "weak",
    "prompt_only": "this model can't: its vector does not work, words do",
    "nothing": "nothing works",
    "by_itself": "the model is so by itself",
    "unscored": "unscored: the judge can't tell the poles apart",
}
WARNED: tuple[Verdict, ...] = ("prompt_only", "nothing")  # of a persona with such a verdict, clients are warned


@dataclass(frozen=True)
class Steered:
    """What a coefficient does. Each interval is of how far the pole's score lies above that of the others, which is
    None where those were not tried; `coherent` is the coherence as a share of unsteered, `looping` the share of answers
    that go round in circles, `shown` the pole's score, 0 to 100."""

    above_unsteered: Interval | None
    above_random: Interval | None
    above_wrong_trait: Interval | None
    coherent: float
    looping: float = 0.0
    shown: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What was found of a pole. `unsteered`: its score in unsteered answers, 0 to 100. `at`: by coefficient, above 0.
    `asked`: by what it was asked for in words, how far its score lies above unsteered."""

    scored: bool
    unsteered: float | None
    at: Mapping[float, Steered]
    asked: Mapping[str, Interval | None]


def verdict_of(found: Evidence) -> tuple[Verdict, str]:
    """The verdict, and in words what it rests on."""
    if not found.scored or found.unsteered is None:
        return "unscored", "the judge can't tell held-out answers of the poles apart well enough"
    one = found.at.get(1.0)
    if found.unsteered >= SHOWN and not (one and one.above_unsteered and one.above_unsteered[1] < 0):
        return "by_itself", f"unsteered answers show it with {found.unsteered:.0f} of 100 already"
    levels = _levels(found.unsteered, found.at)
    lacking = "nothing was asked at coefficient 1" if one is None else _lacking(one)
    if not lacking:
        return (
            "steers",
            f"at coefficient 1 it is above no steering and every control, and answers hold together{levels}",
        )
    effective = [coefficient for coefficient in sorted(found.at) if coefficient >= 1 and _works(found.at[coefficient])]
    if effective:
        return "weak", f"it shows more at {effective[0]:g}, but at coefficient 1 {lacking}{levels}"
    works = [name for name, above in found.asked.items() if _above(above)]
    if works:
        return (
            "prompt_only",
            f"asked for by {' and by '.join(works)} it shows more; steered at coefficient 1, {lacking}",
        )
    tried = " or ".join(found.asked)
    return "nothing", f"at coefficient 1 {lacking}" + (f", nor does it show more by {tried}" if tried else "")


def _lacking(one: Steered) -> str:
    """What coefficient 1 lacks to count as steering; nothing where it lacks nothing."""
    if not _above(one.above_unsteered):
        return "it is not certain to be above no steering"
    if not _above(one.above_random):
        return "it is not certain to be above random directions"
    if one.above_wrong_trait is not None and not _above(one.above_wrong_trait):
        return "it is not certain to be above other traits' directions"
    if one.coherent < COHERENT:
        return f"coherence is {one.coherent:.0%} of unsteered"
    if one.looping >= LOOPED:
        return f"{one.looping:.0%} of the answers go round in circles"
    return ""


def _levels(unsteered: float, at: Mapping[float, Steered]) -> str:
    """In words, how much shows from coefficient 1 on, so that nobody asks for 1 where it is faint there; with the
    coherence where that is less than it has to be at 1."""
    told = [f"{unsteered:.0f} of 100 unsteered"]
    for coefficient in sorted(coefficient for coefficient in at if coefficient >= 1):
        one = at[coefficient]
        if one.shown is not None:
            broken = "" if one.coherent >= COHERENT else f" with {one.coherent:.0%} of the coherence"
            told.append(f"{one.shown:.0f} at {coefficient:g}{broken}")
    return f"; it shows with {', '.join(told)}" if len(told) > 1 else ""


def _works(at: Steered) -> bool:
    beyond_chance = at.above_random is None or _above(at.above_random)
    return _above(at.above_unsteered) and beyond_chance and at.coherent >= STILL_COHERENT


def _above(interval: Interval | None) -> bool:
    return interval is not None and interval[0] > 0


def verdict_of_curve(sweep: Sweep) -> tuple[Verdict, str] | None:
    """What a pole's curve alone allows to say: that it steers, or is weak. None where it allows neither, since a curve
    has too few answers to say that nothing works. Certain are intervals that lie apart."""
    points = {(point.kind, point.coefficient): point for point in sweep.points}
    base = next((point for (kind, _), point in points.items() if kind == "unsteered"), None)
    if not sweep.judge.scored or base is None or base.trait is None or base.coherence is None:
        return None
    steered = sorted(coefficient for kind, coefficient in points if kind == "steered")
    for coefficient in [each for each in steered if each >= NEAR_1]:
        point = points["steered", coefficient]
        others = [base, *(points[kind, coefficient] for kind in CONTROLS if (kind, coefficient) in points)]
        apart = all(_apart(point.trait, other.trait) for other in others)
        if not apart or len(others) < 2 or point.coherence is None or not base.coherence.mean:
            continue
        kept = point.coherence.mean / base.coherence.mean
        beside = " and ".join(CONTROLS[other.kind] for other in others[1:])
        where = f"by its curve alone it is above no steering and {beside} at {coefficient:.2f}, intervals apart"
        looping = 0.0 if point.looping is None else point.looping.mean
        if kept >= COHERENT and looping < LOOPED and coefficient <= 1 / NEAR_1:
            return "steers", where
        if kept >= STILL_COHERENT:
            circling = f", and {looping:.0%} of the answers go round in circles" if looping >= LOOPED else ""
            return "weak", f"{where}, with {kept:.0%} of the coherence{circling}"
    return None


def _apart(one: Measured | None, other: Measured | None) -> bool:
    return one is not None and other is not None and one.low > other.high

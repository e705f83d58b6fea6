"""What coefficient 1 should be, from scores alone: how far answers hold together, and which dose is enough.

The rule. A coefficient *holds* unless it is certain that the answers got worse: coherence, and facts right where facts
are known and the pole does not itself ask for falsehood, are compared with 95 % of the unsteered answers' to the same
questions, and only a 95 % interval that lies below ends it, or a mean below 90 %: of few answers nothing is certain.
The range that holds is what holds without a gap from 0 up. Within it, the dose that is *enough* brings 95 % of the
most trait that steering adds there, read off the straight lines between the coefficients tried. Coefficient 1 becomes
a quarter more than that, or, where that is nearer, the middle (by ratio) between enough and the end of the range.
Where nothing shows for certain, it is at most that end.

So a trait that rises until answers fall apart gets the strongest dose that keeps them, all but a little, and one that
is saturated long before gets the dose that saturates it, not the edge of collapse. A share of the effect, and not the
first dose whose trait can't be told from the best, because the latter moves with the number of answers: asking more
would make coefficient 1 stronger. The quarter on top, because traits set in steeply and enough is read off few
questions: on others it may be too little. A change of less than a tenth is left, being within what asking again would
change, unless 1 itself does not hold.

Answers to one question are not independent, so all intervals are percentiles over questions drawn again. Knows no
model and no judge.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.steering.judge.base import MIN_SCORED
from proxy.steering.statistics import Scores, difference, mean

KEPT = 0.95  # of the unsteered answers' coherence, and of their facts: what holds
LEAST = 0.9  # of them: a mean below it does not hold, be it certain or not
ENOUGH = 0.95  # of what steering adds to the trait
ON_TOP = 1.25  # times the dose that is enough
AS_IT_IS = 0.1  # a change of strength by less is none
STILL_RISING = 0.9  # of the largest coefficient tried: where it takes more, the trait was not seen to be saturated


@dataclass(frozen=True)
class Level:
    """The scores of the answers at one coefficient, 0 for unsteered: trait and coherence from 0 to 100, `correct`,
    `unfinished` and `looping` 0 or 1, nan where no fact is known, and where nothing was asked."""

    coefficient: float
    trait: Scores
    coherence: Scores
    correct: Scores
    unfinished: Scores
    looping: Scores


def reach(levels: Iterable[Level], base: Level, truthful: bool) -> tuple[float, float | None]:
    """The last coefficient that holds together with all below it, and the first that does not, None where all do.

    `truthful`: facts count, the pole does not ask for falsehood.
    """
    reached = 0.0
    for level in sorted(levels, key=lambda level: level.coefficient):
        # No gap is bridged: a stronger dose that seems to hold where a weaker one did not is luck of the draw.
        if not _holds(level, base, truthful):
            return reached, level.coefficient
        reached = level.coefficient
    return reached, None


def strength(levels: Sequence[Level], base: Level, truthful: bool, *, keep: bool = False) -> tuple[float | None, str]:
    """The coefficient that should be 1, None where that can't be said or 1 is to `keep` as it is, and why in words."""
    reached, collapse = reach(levels, base, truthful)
    within = [level for level in levels if level.coefficient <= reached]
    if not within:
        return None, f"answers fall apart at {collapse:g}, the smallest coefficient tried: try smaller ones"
    scored = sorted((level for level in within if _scored(level.trait)), key=lambda level: level.coefficient)
    best = max(scored, key=lambda level: mean(level.trait), default=None)
    # The best of many levels lies high by chance, so that it must be above no steering by a wider interval.
    gain = None if best is None else difference(best.trait, base.trait, best_of=len(scored))
    if best is None or gain is None or gain[0] <= 0:
        why = f"up to {reached:g}, where answers hold together, steering shows no more of it than no steering"
        if collapse is None or reached >= 1 or keep:
            return None, why
        return reached, f"1 was set to what {reached:.2f} was, the last before answers fall apart; {why} for certain"
    start = mean(base.trait)
    wanted = start + ENOUGH * (mean(best.trait) - start)
    enough = _first_at(wanted, [(0.0, start), *((level.coefficient, mean(level.trait)) for level in scored)])
    # On other questions it may take more, but never so much that it comes near to where answers fall apart.
    found = min(ON_TOP * enough, (enough * reached) ** 0.5)
    why = f"{enough:.2f} brings {ENOUGH:.0%} of the most that is shown while answers hold together, up to {reached:g}"
    if collapse is None and enough > STILL_RISING * reached:
        why += "; more may come of larger coefficients, which another sweep would try"
    # Else each sweep of the same vector would move its strength a little, for no reason but chance.
    if abs(found - 1) < AS_IT_IS and reached >= 1:
        return 1.0, f"coefficient 1 was right: {why}"
    if keep:
        return None, f"1 stays what it was, as asked; the rule would make it what {found:.2f} is: {why}"
    return found, f"1 was set to what {found:.2f} was; in coefficients of before, {why}"


def _first_at(wanted: float, points: Sequence[tuple[float, float]]) -> float:
    """The dose at which the straight lines between the points, (dose, trait), first come to `wanted`. They begin below
    it; ValueError where they never come to it."""
    for (start, low), (end, high) in itertools.pairwise(points):
        if high >= wanted:
            return start + (end - start) * (wanted - low) / (high - low)
    raise ValueError("the points never come to what is wanted")


def _holds(level: Level, base: Level, truthful: bool) -> bool:
    coherence = difference(level.coherence, base.coherence, KEPT)
    if coherence is None or not _scored(level.coherence) or not _kept(coherence, level.coherence, base.coherence):
        return False
    # Where no fact is known there is no difference, and nothing to hold.
    correct = difference(level.correct, base.correct, KEPT) if truthful else None
    return correct is None or _kept(correct, level.correct, base.correct)


def _kept(above: tuple[float, float], scores: Scores, base: Scores) -> bool:
    """Whether scores may be as good as the unsteered ones. A mean a little below may be a few answers' bad luck, one
    far below is not to be hoped away because the answers are too few to be certain. `above`: the interval of how far
    they lie above what has to be kept."""
    return above[1] >= 0 and mean(scores) >= LEAST * mean(base)


def _scored(scores: Scores) -> bool:
    """Whether the judge could score enough of a level's answers; a level with fewer does not hold."""
    return bool(1 - np.isnan(scores).mean() >= MIN_SCORED)

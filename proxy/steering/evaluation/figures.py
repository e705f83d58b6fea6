"""From the scores of an evaluation's answers to what is kept with the vector: figures with intervals, and verdicts.

Pure. Every interval is over questions drawn again, since answers to one question are not independent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from proxy.steering.evaluation.asked import BARE, RuledCell, Way, costed, in_words, steered
from proxy.steering.evaluation.judging import JudgedAnswer
from proxy.steering.evaluation.rules import Fact, follows, states
from proxy.steering.evaluation.verdict import Evidence, Interval, Steered
from proxy.steering.judge import Score
from proxy.steering.statistics import (
    Scores,
    correlation,
    difference,
    mean,
    measured,
    wrong_way,
    wrong_way_unsteered,
)
from vector_store import AskedBy, CostArm, EvaluatedArm, Measured, Side, SweepKind, opposite

OPPOSED = 50.0  # of 100: on either side of it two judges contradict each other
ORDER: tuple[tuple[SweepKind, AskedBy], ...] = (
    ("unsteered", "nothing"),
    ("steered", "nothing"),
    ("random", "nothing"),
    ("wrong_trait", "nothing"),
    ("unsteered", "prompt"),
    ("steered", "prompt"),
    ("unsteered", "demonstrations"),
)
NAMES: dict[AskedBy, str] = {"prompt": "system prompt", "demonstrations": "demonstrations"}


class Scored(NamedTuple):
    """One answer for one side: what the judge said, and how it came to an end."""

    asked: JudgedAnswer
    score: Score | None
    cut_off: bool
    looping: bool


Key = tuple[Way, int]  # a way to get answers, and the turn
Figures = dict[str, Scores]


def tables(answers: Iterable[Scored], side: Side, n_questions: int, n_samples: int) -> dict[Key, Figures]:
    """By way and turn, each figure of the answers that were judged for a side, with a row for each question and a
    column for each sample; nan where nothing was asked or could be scored."""

    def empty() -> Figures:
        names = ("trait", "coherence", "unfinished", "looping", "words")
        return {name: np.full((n_questions, n_samples), np.nan) for name in names}

    found: defaultdict[Key, Figures] = defaultdict(empty)
    for asked, score, cut_off, looping in answers:
        if asked.side != side:
            continue
        table, place = found[asked.cell.way, asked.turn], (asked.cell.question, asked.cell.sample)
        table["unfinished"][place], table["looping"][place] = cut_off, looping
        table["words"][place] = len(asked.text.split())
        if score is not None:
            table["trait"][place], table["coherence"][place] = score.trait, score.coherence
    return dict(found)


def arms(of_side: Mapping[Key, Figures], side: Side, scored: bool, second: Mapping[Key, Figures]) -> list[EvaluatedArm]:
    """The arms of a pole, from no steering on. Where the judge can't judge, its scores of the trait are left out.
    `second` are the tables of the second judge."""
    found = []
    for way, turn in sorted(of_side, key=lambda key: _order(key[0], key[1], side)):
        table, base = of_side[way, turn], of_side[BARE, turn]["trait"]
        against = wrong_way_unsteered(base) if way == BARE else wrong_way(table["trait"], base)
        seconds = second.get((way, turn))
        found.append(
            EvaluatedArm(
                kind=way.steering.kind,
                asked_by=way.asked_by,
                coefficient=_coefficient(way, side),
                turn=turn,
                n=int((~np.isnan(table["words"])).sum()),
                trait=measured(table["trait"]) if scored else None,
                coherence=measured(table["coherence"]),
                wrong_way=measured(against) if scored else None,
                unfinished=measured(table["unfinished"]),
                looping=measured(table["looping"]),
                words=measured(table["words"]),
                second=None if seconds is None else measured(seconds["trait"]),
            )
        )
    return found


def evidence(of_side: Mapping[Key, Figures], side: Side, scored: bool) -> Evidence:
    """What a pole's verdict rests on: the first turns."""
    base = of_side[BARE, 1]

    def above(way: Way, other: Way, best_of: int = 1) -> Interval | None:
        if (way, 1) not in of_side or (other, 1) not in of_side:
            return None
        return difference(of_side[way, 1]["trait"], of_side[other, 1]["trait"], best_of=best_of)

    at: dict[float, Steered] = {}
    of_vector = [way.steering for way, turn in of_side if turn == 1 and way.asked_by == "nothing"]
    tried = sorted(arm.coefficient for arm in of_vector if (arm.kind, arm.side) == ("steered", side))
    for coefficient in tried:
        way = steered(side, coefficient)
        # Coefficient 1 was named beforehand; of the others the best counts, which one lies high the more often.
        best_of = 1 if coefficient == 1.0 else max(sum(other > 1.0 for other in tried), 1)
        random, wrong = steered(side, coefficient, "random"), steered(side, coefficient, "wrong_trait")
        at[coefficient] = Steered(
            above(way, BARE, best_of),
            above(way, random, best_of),
            above(way, wrong, best_of),
            _coherent(of_side, way),
            mean(of_side[way, 1]["looping"]),
            _mean_trait(of_side[way, 1]),
        )
    asked = {name: above(in_words(side, by), BARE) for by, name in NAMES.items() if (in_words(side, by), 1) in of_side}
    return Evidence(scored, _mean_trait(base), at, asked)


def costs(asked: Sequence[RuledCell], texts: Sequence[str], side: Side, sides: Iterable[Side]) -> list[CostArm]:
    """What each way costs, for a pole; nothing where nothing was asked."""
    right: defaultdict[tuple[Way, bool], list[float]] = defaultdict(list)
    for (way, _, one), text in zip(asked, texts, strict=True):
        fact = isinstance(one, Fact)
        right[way, fact].append(states(one, text) if isinstance(one, Fact) else follows(one, text))
    return [
        CostArm(
            asked_by=way.asked_by,
            coefficient=_coefficient(way, side),
            facts=_share(right.get((way, True))),
            instructions=_share(right.get((way, False))),
        )
        for way in (costed(sides) if asked else [])
        if way.side in (side, None)
    ]


def agreement(first: Sequence[Score | None], second: Sequence[Score | None]) -> tuple[int, float | None, float] | None:
    """How two judges' scores of the trait for the same answers go together: of how many answers, their correlation,
    and the share of which they say opposite things. None where no answer has both scores."""
    pairs = [(one.trait, other.trait) for one, other in zip(first, second, strict=True) if one and other]
    if not pairs:
        return None
    one, other = np.array(pairs, dtype=np.float32).T
    together = correlation(one, other)
    opposed = float(((one > OPPOSED) != (other > OPPOSED)).mean())
    return len(pairs), None if together is None else round(together, 4), round(opposed, 4)


def _share(right: Sequence[float] | None) -> Measured | None:
    return None if not right else measured(np.array(right, dtype=np.float64)[:, None])


def _mean_trait(table: Figures) -> float | None:
    return None if np.isnan(table["trait"]).all() else mean(table["trait"])


def _coherent(of_side: Mapping[Key, Figures], way: Way) -> float:
    """The coherence of a way's answers as a share of the unsteered ones'."""
    coherence, base = of_side[way, 1]["coherence"], of_side[BARE, 1]["coherence"]
    if np.isnan(coherence).all() or np.isnan(base).all() or not mean(base):
        return 0.0
    return mean(coherence) / mean(base)


def _coefficient(way: Way, side: Side) -> float:
    """In the pole's own: below 0 it is steered to the opposite one."""
    return -way.steering.coefficient if way.steering.side == opposite(side) else way.steering.coefficient


def _order(way: Way, turn: int, side: Side) -> tuple[int, int, float]:
    return turn, ORDER.index((way.steering.kind, way.asked_by)), _coefficient(way, side)

"""From the scores of a sweep's answers to a pole's curve, in the coefficients its calibration makes of them. Pure."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from proxy.steering.judge import Score
from proxy.steering.statistics import measured, wrong_way, wrong_way_unsteered
from proxy.steering.sweep.asked import CHOSEN_BY, UNSTEERED, Arm, SweepCell
from proxy.steering.sweep.calibration import Level, reach, strength
from vector_store import JudgedBy, PoleChoice, Side, Sweep, SweepKind, SweepPoint

ORDER: tuple[SweepKind, ...] = (*CHOSEN_BY, "random", "wrong_trait", "prompt")


class Judged(NamedTuple):
    """One answer: what the judge said of it, whether its fact is right, and whether it came to no end, or went round in
    circles."""

    cell: SweepCell
    score: Score | None
    right: bool | None
    unfinished: bool
    looping: bool


class PolePoint(NamedTuple):
    """A point of a pole's curve while the curve is being measured, in the coefficients the vector still has."""

    side: Side
    point: SweepPoint


def levels_of(answers: Iterable[Judged], questions: Sequence[int], samples: int) -> dict[Arm, Level]:
    """One pole's answers by arm: a row for each of the questions, of which the first half are for choosing, and a
    column for each sample, nan where nothing was asked, could be scored or is known."""
    rows = {question: row for row, question in enumerate(questions)}
    levels: dict[Arm, Level] = {}
    for (arm, question, sample), score, right, unfinished, looping in answers:
        if arm not in levels:
            tables = [np.full((len(rows), samples), np.nan) for _ in range(5)]
            levels[arm] = Level(arm.coefficient, *tables)
        level, place = levels[arm], (rows[question], sample)
        level.unfinished[place], level.looping[place] = unfinished, looping
        if score is not None:
            level.trait[place], level.coherence[place] = score.trait, score.coherence
        if right is not None:
            level.correct[place] = right
    return levels


def points_so_far(levels: Mapping[Arm, Level], arms: Collection[Arm], dose: float, scored: bool) -> list[SweepPoint]:
    """The points of those `arms` that are measured already, as the curve of their pole will report them, but in the
    coefficients of now."""
    half = len(levels[UNSTEERED].trait) // 2
    wanted = {arm: _rows(level, slice(half, None)) for arm, level in levels.items() if arm in arms}
    return _points(wanted, _rows(levels[UNSTEERED], slice(half, None)), dose, 1.0, scored)


def pole_curve(
    choice: PoleChoice,
    levels: Mapping[Arm, Level],
    judge: JudgedBy,
    *,
    truthful: bool,
    seed: int,
    keep_strength: bool = False,
    wrong_traits: Sequence[str] = (),
) -> tuple[PoleChoice, Sweep]:
    """The pole's choice, calibrated where that can be done and its strength is not to be kept, and its curve in the
    coefficients of that choice.

    `truthful`: facts count, the pole does not ask for falsehood. `wrong_traits`: whose directions were a control.
    """
    half = len(levels[UNSTEERED].trait) // 2
    choosing = {arm: _rows(level, slice(half)) for arm, level in levels.items() if arm.kind in CHOSEN_BY}
    reporting = {arm: _rows(level, slice(half, None)) for arm, level in levels.items()}
    if judge.scored:
        factor, verdict = strength(_steered(choosing), choosing[UNSTEERED], truthful, keep=keep_strength)
    else:
        factor = None
        verdict = f"unscored: held-out answers of the poles are told apart with an AUROC of only {judge.auroc:.2f}"
    unit = 1.0 if factor is None else factor  # the coefficient that is 1 from now on
    coherent_to, collapse = reach(_steered(reporting), reporting[UNSTEERED], truthful)
    sweep = Sweep(
        points=_points(reporting, reporting[UNSTEERED], choice.relative_dose, unit, judge.scored),
        chosen_on=_points(choosing, choosing[UNSTEERED], choice.relative_dose, unit, judge.scored),
        judge=judge,
        coherent_to=_rounded(coherent_to / unit),
        collapse=None if collapse is None else _rounded(collapse / unit),
        factor=factor,
        verdict=verdict,
        seed=seed,
        wrong_traits=list(wrong_traits),
    )
    if not judge.scored:
        return choice, sweep
    return dataclasses.replace(
        choice,
        relative_dose=choice.relative_dose * unit,
        measured_range=(0.0, _coherent_to(sweep, choice.measured_range, unit)),
        score=_score_at_1(sweep, choice.score),
    ), sweep


def _coherent_to(sweep: Sweep, before: tuple[float, float] | None, unit: float) -> float:
    """How far answers are known to hold together: as far as the sweep went and they did, or as was known `before`, in
    the coefficients of then, unless the sweep saw them fall apart there."""
    known = 0.0 if before is None else _rounded(before[1] / unit)
    fell_apart = sweep.collapse is not None and sweep.collapse <= known
    return sweep.coherent_to if fell_apart else max(sweep.coherent_to, known)


def _rows(level: Level, rows: slice) -> Level:
    tables = (level.trait, level.coherence, level.correct, level.unfinished, level.looping)
    return Level(level.coefficient, *(table[rows] for table in tables))


def _steered(levels: Mapping[Arm, Level]) -> list[Level]:
    return [level for arm, level in levels.items() if arm.kind == "steered"]


def _points(levels: Mapping[Arm, Level], unsteered: Level, dose: float, unit: float, scored: bool) -> list[SweepPoint]:
    """The curve's points. `dose` was the relative one of coefficient 1, `unit` is the coefficient that is 1 from now
    on. Where the judge is none, what it says of the trait is left out."""
    base = unsteered.trait
    points = []
    for arm, level in sorted(levels.items(), key=lambda item: (ORDER.index(item[0].kind), item[0].coefficient)):
        against = wrong_way_unsteered(base) if arm == UNSTEERED else wrong_way(level.trait, base)
        products = level.trait * level.coherence / 1e4
        point = SweepPoint(
            kind=arm.kind,
            coefficient=_rounded(arm.coefficient / unit),
            relative_dose=_rounded(arm.coefficient * dose),
            trait=measured(level.trait),
            coherence=measured(level.coherence),
            wrong_way=measured(against),
            correct=measured(level.correct),
            score=None if np.isnan(products).all() else _rounded(float(np.nanmean(products))),
            n=int((~np.isnan(products)).sum()),
            unfinished=measured(level.unfinished),
            looping=measured(level.looping),
        )
        points.append(point if scored else dataclasses.replace(point, trait=None, wrong_way=None, score=None))
    return points


def _score_at_1(sweep: Sweep, otherwise: float | None) -> float | None:
    """Read off the line between the coefficients beside it; `otherwise` where 1 is beyond those that were tried."""
    known = [(p.coefficient, p.score) for p in sweep.points if p.kind in CHOSEN_BY and p.score is not None]
    if not known or known[-1][0] < 1:
        return otherwise
    coefficients, scores = zip(*known, strict=True)
    return float(np.interp(1.0, coefficients, scores))


def _rounded(value: float) -> float:
    return round(value, 4)

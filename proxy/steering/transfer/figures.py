"""What an evaluation found: from the scores of its answers to the figures that are written down, and what they fall
short of.

Answers to one question are not independent, and all arms answer the same ones, so every interval is a percentile
interval over questions drawn again, the same for all arms. Pure: knows no model, and no judge but how good it is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

import proxy
from proxy.engines.base import FloatArray
from proxy.steering.judge import Score, Validated
from proxy.steering.statistics import (
    Drawn,
    Scores,
    average,
    cosine,
    mean,
    measured,
    permutation_p,
    share_of_gain,
    wrong_way,
    wrong_way_unsteered,
)
from proxy.steering.transfer.arms import (
    KINDS,
    ArmKind,
    Arms,
    EvaluationCell,
    EvaluationOptions,
    Pole,
    by_others,
)
from proxy.steering.transfer.files import TransferInfo
from vector_store import JudgedBy, Measured, PoleChoice, UsedMap

WANTED_MEAN, WANTED_LEAST = 0.85, 0.6  # recovery: over all poles, and of each
KEPT_ANSWERS = 10  # of each pole
WANTED_P = 0.05  # that directions dealt out at random are as close: less than this
FEWEST_POLES = 4  # with fewer, one way in six or more to deal directions out is the right one: no p is below WANTED_P
VARIED: tuple[ArmKind, ...] = ("random", "random_covariance", "shuffled", "wrong_trait")  # each sample in its own way
CONTROLS: tuple[ArmKind, ...] = ("none", "random", "random_covariance", "shuffled", "wrong_trait", "sampling")


class ArmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of one pole. `trait` and `coherence` from 0 to 100, `correct` the share of answers that get their fact
    right, `anti_steered` of those that show less of the pole than the same question's unsteered ones. `recovery`: how
    much of what the native vector adds to the trait. `variants`: the trait by direction or map, where there are
    several. `others`: by pole of another trait, the change of its score. None is what could not be measured."""

    kind: ArmKind
    n: int
    trait: Measured | None
    coherence: Measured | None
    correct: Measured | None
    anti_steered: Measured | None
    recovery: Measured | None
    variants: list[float | None]
    others: dict[str, float]

    @property
    def moved(self) -> float | None:
        """The mean size of the change of other traits' poles, in points of their score."""
        return float(np.mean([abs(change) for change in self.others.values()])) if self.others else None


class SteeredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the target answers to a question, unsteered and steered by the transferred vector, with the same seed."""

    question: str
    unsteered: str
    transferred: str


class PoleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One pole. `placed_by_others` is where and how strongly its arms `..._by_others` were steered, and
    `recovery_by_others` compares these two. `cosine`: transferred to native, at the pole's place, None where there is
    no native vector; `cosines_of_others`: of the transferred vector to the other traits' native ones,
    `cosines_shuffled`: of those by shuffled maps to the native one. `answers` are the first ones, unpicked."""

    pole: str
    trait: str
    judge: JudgedBy
    choice: PoleChoice
    map: UsedMap
    arms: list[ArmFigures]
    placed_by_others: PoleChoice | None
    recovery_by_others: Measured | None
    cosine: float | None
    cosines_of_others: dict[str, float]
    cosines_shuffled: list[float]
    answers: list[SteeredAnswer] = []

    def arm(self, kind: ArmKind) -> ArmFigures | None:
        return next((arm for arm in self.arms if arm.kind == kind), None)


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All that an evaluation found. `recovery` and `recovery_by_others` are means over the poles that have one.
    `cosine_p`: how often the mean cosine to native vectors is as high when transferred vectors are dealt out to poles
    at random, None where a native vector is missing. `text` says what the maps were fitted to. `created` is UTC, ISO
    8601."""

    source: str
    target: str
    transfer: str
    text: str
    n_documents: int
    created: str
    software_version: str
    options: EvaluationOptions
    n_questions: int
    poles: list[PoleFigures]
    recovery: Measured | None
    recovery_by_others: Measured | None
    cosine_p: float | None


def misses(found: Evaluation) -> list[str]:
    """Each thing wanted of a transfer that was measured and did not come, in words."""
    means = {"": found.recovery, "placed by the other traits: ": found.recovery_by_others}
    missed = [
        f"{where}mean recovery {mean.mean:.3f}, wanted {WANTED_MEAN:g}"
        for where, mean in means.items()
        if mean is not None and mean.mean < WANTED_MEAN
    ]
    if len(found.poles) >= FEWEST_POLES and found.cosine_p is not None and found.cosine_p >= WANTED_P:
        missed.append(
            "dealt out to the poles at random, the transferred directions are as close to the native ones with p = "
            f"{found.cosine_p:.4f}, wanted less than {WANTED_P:g}"
        )
    return missed + [f"{pole.pole}: {line}" for pole in found.poles for line in _misses_of(pole)]


def missing(found: Evaluation) -> list[str]:
    """Each thing without which there is no verdict on a transfer, in words: poles, a judge, or controls."""
    scored = [pole for pole in found.poles if _is_scored(pole, "transferred")]
    lines = [
        f"{pole.pole}: unscored, the judge's AUROC is {pole.judge.auroc:.2f}"
        for pole in found.poles
        if pole not in scored
    ]
    if len(scored) < FEWEST_POLES:
        lines.append(
            f"poles that could be scored: there are {len(scored)}, and at least both of two traits are needed, or "
            "chance can't be told from a match"
        )
    poles = [pole.pole for pole in scored if pole.arm("native") is None]
    if poles:
        lines.append(f"a vector of the target's own, of {', '.join(poles)}: so there is no recovery")
    for kind in CONTROLS:
        poles = [pole.pole for pole in scored if not _is_scored(pole, kind)]
        if poles:
            lines.append(f"the control {kind.replace('_', ' ')}, of {', '.join(poles)}")
    poles = [pole.pole for pole in scored if pole.placed_by_others is None]
    if poles:
        lines.append(f"place and dose by the other traits, of {', '.join(poles)}")
    return lines


def _is_scored(pole: PoleFigures, kind: ArmKind) -> bool:
    arm = pole.arm(kind)
    return arm is not None and arm.trait is not None


def _misses_of(pole: PoleFigures) -> Iterator[str]:
    arm = pole.arm("transferred")
    if arm is None or arm.trait is None:
        return
    if pole.arm("native") is None:
        pass
    elif arm.recovery is None:
        yield "the native vector itself shows no more of it than no steering"
    elif arm.recovery.mean < WANTED_LEAST:
        yield (
            f"recovery {arm.recovery.mean:.3f}, wanted {WANTED_LEAST:g}; the map to block {pole.choice.block}, where "
            f"the native vector steers, explains {pole.map.r2:.2f} of what it was not fitted to"
        )
    if pole.recovery_by_others is not None and pole.recovery_by_others.mean < WANTED_LEAST:
        yield f"placed by the other traits: recovery {pole.recovery_by_others.mean:.3f}, wanted {WANTED_LEAST:g}"
    for kind in CONTROLS:
        control = pole.arm(kind)
        if control is not None and control.trait is not None and control.trait.high >= arm.trait.low:
            yield f"{points(arm.trait)} is not clear of {kind.replace('_', ' ')}, {points(control.trait)}"


def points(measured: Measured) -> str:
    """A score from 0 to 100 with its interval, as people read it."""
    return f"{measured.mean:.0f} ({measured.low:.0f} to {measured.high:.0f})"


@dataclass(frozen=True)
class Table:
    """The scores of an arm's answers, float64[n_questions, n_samples], nan where there is none: trait and coherence
    from 0 to 100, `correct` 0 or 1."""

    trait: Scores
    coherence: Scores
    correct: Scores

    @classmethod
    def empty(cls, n_questions: int, n_samples: int) -> "Table":
        return cls(*(np.full((n_questions, n_samples), np.nan) for _ in range(3)))

    def put(self, question: int, sample: int, score: Score | None, right: bool | None) -> None:
        """Write down one answer's."""
        if score is not None:
            self.trait[question, sample], self.coherence[question, sample] = score.trait, score.coherence
        if right is not None:
            self.correct[question, sample] = right


# By the index of the pole that was wanted, the arm, and the index of the pole the answers were judged for. Unsteered
# answers are under the first pole of their trait.
Tables = Mapping[tuple[int, ArmKind, int], Table]


def figures_of(
    transfer: TransferInfo,
    arms: Arms,
    judges: Mapping[str, Validated],
    tables: Tables,
    texts: Sequence[str],
    created: str,
) -> Evaluation:
    """All figures of an evaluation. `judges`: by trait; `texts`: the answers, in the order of `arms.asked`."""
    poles = arms.poles
    cosines = np.array([[_cosine_to_native(pole, at) for at in poles] for pole in poles])
    sums = _Tally(transfer, arms, judges, tables, dict(zip(arms.asked, texts, strict=True)))
    of_poles = range(len(poles))
    return Evaluation(
        source=transfer.source.id,
        target=transfer.target.id,
        transfer=transfer.id,
        text=transfer.text,
        n_documents=transfer.n_documents,
        created=created,
        software_version=proxy.__version__,
        options=arms.options,
        n_questions=min(map(len, arms.questions.values())),
        poles=[sums.pole(index, cosines[index]) for index in of_poles],
        recovery=_summary(average([sums.recovery(index, "transferred", "native") for index in of_poles])),
        recovery_by_others=_summary(average([sums.recovery_by_others(index) for index in of_poles])),
        cosine_p=None if np.isnan(cosines).any() else permutation_p(cosines, arms.options.seed),
    )


@dataclass(frozen=True)
class _Tally:
    """Sums up what there is of one pole after the other."""

    transfer: TransferInfo
    arms: Arms
    judges: Mapping[str, Validated]
    tables: Tables
    texts: Mapping[EvaluationCell, str]

    def pole(self, index: int, cosines: Scores) -> PoleFigures:
        """The figures of one pole. `cosines`, float64[n_poles]: of its transferred vector to the native ones, in the
        order of the poles, nan where there is none."""
        poles = self.arms.poles
        pole = poles[index]
        at = pole.transferred.transfer
        if at is None:
            raise AssertionError("a vector that was carried over says by what")
        place, native = (pole.choice.span, pole.choice.block), pole.native
        return PoleFigures(
            pole=pole.name,
            trait=pole.trait.id,
            judge=self.judges[pole.trait.id].record,
            choice=pole.choice,
            map=next(map_ for map_ in at.maps if (map_.span, map_.target_block) == place),
            arms=[self._arm(index, kind) for kind in KINDS if kind == "none" or self.arms.n_samples(index, kind)],
            placed_by_others=(by_others(pole, poles) if self.arms.n_samples(index, "transferred_by_others") else None),
            recovery_by_others=_summary(self.recovery_by_others(index)),
            cosine=None if native is None else float(cosines[index]),
            cosines_of_others={
                other.name: float(value)
                for other, value in zip(poles, cosines, strict=True)
                if other.trait.id != pole.trait.id and other.native is not None
            },
            cosines_shuffled=(
                []
                if native is None
                else [_cosine(pole.direction(moved), pole.direction(native)) for moved in pole.shuffled]
            ),
            answers=self._answers(index),
        )

    def _answers(self, index: int) -> list[SteeredAnswer]:
        """To the trait's own questions, the first to each."""
        base, found = self.arms.base_of(index), []
        for question in range(min(self.arms.n_questions(index), KEPT_ANSWERS)):
            cell = EvaluationCell(index, "transferred", question, 0)
            unsteered = self.texts[EvaluationCell(base, "none", question, 0)]
            asked = self.arms.question(cell)
            found.append(SteeredAnswer(question=asked, unsteered=unsteered, transferred=self.texts[cell]))
        return found

    def recovery(self, index: int, kind: ArmKind, full: ArmKind) -> Drawn | None:
        """How much of what the arm `full` adds to no steering the arm does. None where nobody can judge it."""
        if not self._scored(index) or any((index, each, index) not in self.tables for each in (kind, full)):
            return None
        none = self._table(index, "none", index)
        return share_of_gain(self._table(index, kind, index).trait, none.trait, self._table(index, full, index).trait)

    def recovery_by_others(self, index: int) -> Drawn | None:
        """How much of what the native vector does the transferred one does, both at the place and dose of the other
        traits."""
        return self.recovery(index, "transferred_by_others", "native_by_others")

    def _arm(self, index: int, kind: ArmKind) -> ArmFigures:
        """Where the judge is none, what it says of traits is left out."""
        table, none = self._table(index, kind, index), self._table(index, "none", index).trait
        scored = self._scored(index)
        against = wrong_way_unsteered(none) if kind == "none" else wrong_way(table.trait, none)
        return ArmFigures(
            kind=kind,
            n=int((~np.isnan(table.trait)).sum()),
            trait=measured(table.trait) if scored else None,
            coherence=measured(table.coherence),
            correct=measured(table.correct),
            anti_steered=measured(against) if scored else None,
            recovery=None if kind in ("none", "native") else _summary(self.recovery(index, kind, "native")),
            variants=[_mean(column) for column in table.trait.T] if scored and kind in VARIED else [],
            others=self._others(index, kind),
        )

    def _others(self, index: int, kind: ArmKind) -> dict[str, float]:
        """By pole of another trait, how far the arm moves its score; nothing where nobody judged that."""
        found = {}
        for other, pole in enumerate(self.arms.poles):
            if pole.trait.id == self.arms.poles[index].trait.id or not self._scored(other) or kind == "none":
                continue
            if (index, kind, other) in self.tables:
                moved = mean(self._table(index, kind, other).trait) - mean(self._table(index, "none", other).trait)
                found[pole.name] = round(moved, 2)
        return found

    def _table(self, index: int, kind: ArmKind, judged_for: int) -> Table:
        return self.tables[self.arms.base_of(index) if kind == "none" else index, kind, judged_for]

    def _scored(self, index: int) -> bool:
        return self.judges[self.arms.poles[index].trait.id].scored


def _mean(scores: Scores) -> float | None:
    return None if np.isnan(scores).all() else round(mean(scores), 2)


def _summary(drawn: Drawn | None) -> Measured | None:
    return None if drawn is None else drawn.measured


def _cosine_to_native(pole: Pole, at: Pole) -> float:
    """Of a pole's transferred vector to the native one of another pole, at that one's place; nan where it has none."""
    if at.native is None:
        return math.nan
    return _cosine(pole.transferred.direction(pole.side, at.choice.span, at.choice.block), at.direction(at.native))


def _cosine(one: FloatArray, other: FloatArray) -> float:
    return round(float(cosine(one, other)), 4)

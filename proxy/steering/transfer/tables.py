"""From the scores of an evaluation's answers to its figures. Pure: knows no model, and no judge but how good it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import proxy
from proxy.steering.judge import Score, Validated
from proxy.steering.sweep.calibration import Scores, mean, measured, wrong_way, wrong_way_unsteered
from proxy.steering.transfer.arms import KINDS, ArmKind, Arms
from proxy.steering.transfer.figures import ArmFigures, Evaluation, PoleFigures
from proxy.steering.transfer.files import TransferInfo
from proxy.steering.transfer.matched import by_others
from proxy.steering.transfer.recovery import Drawn, cosine, mean_of, permutation_p, recovery, summary

VARIED: tuple[ArmKind, ...] = ("random", "random_covariance", "shuffled", "wrong_trait")  # each sample in its own way


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
    transfer: TransferInfo, arms: Arms, judges: Mapping[str, Validated], tables: Tables, created: str
) -> Evaluation:
    """All figures. `judges`: by trait."""
    poles = arms.poles
    cosines = np.array(
        [
            [
                cosine(pole.transferred.direction(pole.side, at.choice.span, at.choice.block), at.direction(at.native))
                for at in poles
            ]
            for pole in poles
        ]
    )
    sums = _Tally(transfer, arms, judges, tables)
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
        recovery=summary(mean_of([sums.recovery(index, "transferred", "native") for index in of_poles])),
        recovery_by_others=summary(mean_of([sums.recovery_by_others(index) for index in of_poles])),
        cosine_p=permutation_p(cosines, arms.options.seed),
    )


@dataclass(frozen=True)
class _Tally:
    """Sums up what there is of one pole after the other."""

    transfer: TransferInfo
    arms: Arms
    judges: Mapping[str, Validated]
    tables: Tables

    def pole(self, index: int, cosines: Scores) -> PoleFigures:
        """`cosines`: of its transferred vector to the native ones, in the order of the poles."""
        poles = self.arms.poles
        pole = poles[index]
        at = pole.transferred.transfer
        if at is None:
            raise AssertionError("a vector that was carried over says by what")
        place = pole.choice.span, pole.choice.block
        return PoleFigures(
            pole=pole.name,
            trait=pole.trait.id,
            judge=self.judges[pole.trait.id].record,
            choice=pole.choice,
            map=next(map_ for map_ in at.maps if (map_.span, map_.target_block) == place),
            arms=[self._arm(index, kind) for kind in KINDS if kind == "none" or self.arms.n_samples(index, kind)],
            placed_by_others=by_others(pole, poles),
            recovery_by_others=summary(self.recovery_by_others(index)),
            cosine=float(cosines[index]),
            cosines_of_others={
                other.name: float(value)
                for other, value in zip(poles, cosines, strict=True)
                if other.trait.id != pole.trait.id
            },
            cosines_shuffled=[cosine(pole.direction(moved), pole.direction(pole.native)) for moved in pole.shuffled],
        )

    def recovery(self, index: int, kind: ArmKind, full: ArmKind) -> Drawn | None:
        """How much of what the arm `full` adds to no steering the arm does. None where nobody can judge it."""
        if not self._scored(index) or (index, full, index) not in self.tables:
            return None
        none = self._table(index, "none", index)
        return recovery(self._table(index, kind, index).trait, none.trait, self._table(index, full, index).trait)

    def recovery_by_others(self, index: int) -> Drawn | None:
        """The same at the place and dose of the other traits."""
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
            recovery=None if kind in ("none", "native") else summary(self.recovery(index, kind, "native")),
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

"""What an evaluation found, as it is written down, and what it falls short of. Knows no model and no judge."""

from collections.abc import Iterator

import msgspec
import numpy as np

from proxy.steering.transfer.arms import ArmKind, EvaluationOptions
from vector_store import JudgedBy, Measured, PoleChoice, UsedMap

WANTED_MEAN, WANTED_LEAST = 0.85, 0.6  # recovery: over all poles, and of each
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


class PoleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One pole. `placed_by_others` is where and how strongly its arms `..._by_others` were steered, and
    `recovery_by_others` compares these two. `cosine`: transferred to native, at the pole's place; `cosines_of_others`:
    of the transferred vector to the other traits' native ones, `cosines_shuffled`: of those by shuffled maps to the
    native one."""

    pole: str
    trait: str
    judge: JudgedBy
    choice: PoleChoice
    map: UsedMap
    arms: list[ArmFigures]
    placed_by_others: PoleChoice | None
    recovery_by_others: Measured | None
    cosine: float
    cosines_of_others: dict[str, float]
    cosines_shuffled: list[float]

    def arm(self, kind: ArmKind) -> ArmFigures | None:
        return next((arm for arm in self.arms if arm.kind == kind), None)


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `recovery` and `recovery_by_others` are means over the poles that have one. `cosine_p`: how often the
    mean cosine to native vectors is as high when transferred vectors are dealt out to poles at random. `text` says what
    the maps were fitted to. `created` is UTC, ISO 8601."""

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
    cosine_p: float


def misses(found: Evaluation) -> list[str]:
    """Each thing wanted of a transfer that did not come, in words; none when all did."""
    means = {"": found.recovery, "placed by the other traits: ": found.recovery_by_others}
    missed = [
        f"{where}mean recovery {mean.mean:.3f}, wanted {WANTED_MEAN:g}"
        for where, mean in means.items()
        if mean is not None and mean.mean < WANTED_MEAN
    ]
    return missed + [f"{pole.pole}: {line}" for pole in found.poles for line in _misses_of(pole)]


def _misses_of(pole: PoleFigures) -> Iterator[str]:
    arm = pole.arm("transferred")
    if arm is None or arm.trait is None:
        yield f"unscored, the judge's AUROC is {pole.judge.auroc:.2f}"
        return
    if arm.recovery is None:
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

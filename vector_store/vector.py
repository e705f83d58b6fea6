"""What a persona vector is: the means it is made of, where it steers best, and how that was measured.

Knows numpy and nothing else: no model, no server, no file. Block indices are 0-based, a residual is the output of its
block, and a coefficient is what a request asks for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from vector_store.evaluation import PoleEvaluation
from vector_store.judged import JudgedBy
from vector_store.sweep import Sweep
from vector_store.transfer import Transferred

FloatArray = npt.NDArray[np.float32]

Side = Literal["positive", "negative"]
Condition = Literal["positive", "negative", "neutral"]
Span = Literal["last_prompt", "response"]
Positions = Literal["last_prompt", "response", "all"]
Against = Literal["neutral", "opposite"]  # what a pole's direction is counted from
Origin = Literal["native", "transferred", "imported"]

SIDES: tuple[Side, Side] = ("positive", "negative")
CONDITIONS: tuple[Condition, Condition, Condition] = ("positive", "negative", "neutral")
SPANS: tuple[Span, Span] = ("last_prompt", "response")


def opposite(side: Side) -> Side:
    """The other pole's side."""
    return "negative" if side == "positive" else "positive"


@dataclass(frozen=True, kw_only=True)
class Count:
    """Rollouts of one condition: how many were made, how many passed the judge."""

    made: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a rollout needed to be used, each a judge's score from 0 to 100: coherence, and the trait above a limit in
    positive and below one in negative answers."""

    min_coherence: float
    positive_trait_above: float
    negative_trait_below: float


@dataclass(frozen=True, kw_only=True)
class PoleChoice:
    """Where and how strongly one pole is steered at coefficient 1.

    `relative_dose`: norm of the addition over the median residual norm of `span` at `block`.
    `measured_range`: coefficients between which answers were found coherent; None where nobody measured.
    `score`: mean of trait x coherence, 0 to 1, at coefficient 1; None where nobody measured.
    `against`: the direction is from there to the pole's mean: from the neutral mean, or the opposite pole's.
    """

    block: int
    span: Span
    positions: Positions
    relative_dose: float
    measured_range: tuple[float, float] | None = None
    score: float | None = None
    against: Against = "neutral"


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One thing tried while the pole's block, span and dose were chosen, and what the judge said of its answers.

    `kind`: the pole's own direction ("steered"), a random direction of the same dose ("random") or none ("unsteered",
    for which block, span and positions are None and the dose 0). `trait` and `coherence` are means from 0 to 100,
    `score` is the mean of their product, 0 to 1, over `n` answers.
    """

    side: Side
    kind: Literal["steered", "random", "unsteered"]
    block: int | None
    span: Span | None
    positions: Positions | None
    relative_dose: float
    trait: float
    coherence: float
    score: float
    n: int


@dataclass(frozen=True, kw_only=True)
class PlaceGain:
    """What steering at one place does to the likelihood of given answers, before anything is generated.

    `gain`: how much likelier it makes the pole's answers, as a share of what the pole's instruction adds to them; the
    most that is reached before ordinary answers lose more than the instruction adds. `relative_dose`: where it is.
    `against`: as in PoleChoice. Of a vector that was made within a budget `gain` is less what the place adds to
    ordinary answers, and `relative_dose` the best of those tried.
    """

    side: Side
    block: int
    span: Span
    positions: Positions
    relative_dose: float
    gain: float
    against: Against = "neutral"


@dataclass(frozen=True, kw_only=True)
class VectorHeader:
    """Everything about a persona vector but its arrays: what a listing shows.

    `fingerprint` is of the weights the residuals were read from, "" where nobody knows. `counts` is per condition,
    `separation` per span and block: AUROC, positive against negative rollouts, of the projection on the direction found
    on the other half of the questions; `agreement` likewise: the cosine between the two halves' directions. `poles` is
    empty until the place to steer has been chosen: `gains` are of all places that were compared for it, `curve` is what
    was tried by generating. `created` is UTC, ISO 8601. `parent` is the id of the vector this one was made from,
    `filters` is None where nothing was filtered or nobody knows. `id` is empty until the vector is saved. `sweeps` are
    of the poles that were measured over a range of coefficients, `evaluations` of those that were evaluated as they
    steer now.
    """

    model_id: str
    fingerprint: str
    trait: str
    positive: str
    negative: str
    n_layers: int
    hidden_size: int
    created: str
    software_version: str
    method: str
    origin: Origin = "native"
    counts: Mapping[Condition, Count] = field(default_factory=dict)
    separation: Mapping[Span, list[float]] = field(default_factory=dict)
    agreement: Mapping[Span, list[float]] = field(default_factory=dict)
    poles: Mapping[Side, PoleChoice] = field(default_factory=dict)
    gains: list[PlaceGain] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    sweeps: Mapping[Side, Sweep] = field(default_factory=dict)
    evaluations: Mapping[Side, PoleEvaluation] = field(default_factory=dict)
    id: str = ""
    filters: Filters | None = None
    judge: JudgedBy | None = None  # of the filters, the poles and the curve; None where nobody was validated
    parent: str | None = None
    transfer: Transferred | None = None  # how a transferred vector was carried over

    def pole(self, side: Side) -> str:
        """The persona's name on this side."""
        return self.positive if side == "positive" else self.negative

    @property
    def scored(self) -> bool:
        """Whether its trait scores may be shown. One that nobody validated the judge of is taken at its word."""
        return self.judge is None or self.judge.scored

    def effects(self, side: Side) -> list[float | None]:
        """Per block, how far the best of what was tried there took the pole's score above that of no steering, from -1
        to 1; None where nothing was generated, and everywhere where it is not `scored`."""
        if not self.scored:
            return [None] * self.n_layers
        points = [point for point in self.curve if point.side == side]
        base = _best(point.score for point in points if point.kind == "unsteered")
        best = [
            _best(point.score for point in points if (point.kind, point.block) == ("steered", block))
            for block in range(self.n_layers)
        ]
        return [None if score is None or base is None else score - base for score in best]

    def likelihood_gains(self, side: Side) -> list[float | None]:
        """Per block, the largest gain towards the pole of the places there; None where none was compared."""
        points = [point for point in self.gains if point.side == side]
        return [_best(point.gain for point in points if point.block == block) for block in range(self.n_layers)]


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonaVector(VectorHeader):
    """A trait's mean residuals in one model, or, where only that is known, the direction another tool found.

    `means`: per span and condition, float32[n_layers, hidden_size].
    `residual_norms`: per span, float32[n_layers], the median over the neutral rollouts.
    `difference`: float32[n_layers, hidden_size] of a vector whose means are unknown: from what it was compared with to
    the positive pole, zeros at blocks without a direction. Only neutral means stand beside it, once they are measured.
    """

    means: Mapping[Span, Mapping[Condition, FloatArray]] = field(default_factory=dict)
    residual_norms: Mapping[Span, FloatArray] = field(default_factory=dict)
    difference: FloatArray | None = None

    def __post_init__(self) -> None:
        """ValueError where an array's shape is not the header's or a number is not finite."""
        shape = (self.n_layers, self.hidden_size)
        if self.difference is not None:
            _check(self.difference, shape, "difference")
        needed = set(CONDITIONS) if self.difference is None else {"neutral"}
        for span, means in self.means.items():
            if set(means) != needed:
                raise ValueError(f"span {span!r} needs the means of {', '.join(c for c in CONDITIONS if c in needed)}")
            for condition, array in means.items():
                _check(array, shape, f"mean {span}/{condition}")
        if (not self.means and self.difference is None) or set(self.residual_norms) != set(self.means):
            raise ValueError("means and residual norms must cover the same spans")
        for span, norms in self.residual_norms.items():
            _check(norms, (self.n_layers,), f"residual norms of {span}")
        for side, choice in self.poles.items():
            if choice.span not in self.means or not 0 <= choice.block < self.n_layers:
                raise ValueError(f"the {side} pole's choice names a block or span the vector does not have")
        for side in self.sweeps:
            if side not in self.poles:
                raise ValueError(f"the {side} pole was swept without a place to steer it")

    @property
    def knows_poles(self) -> bool:
        """Whether its poles' means are where this model's own answers lie. Imported directions have none, and of
        transferred ones only the direction is known: how far they reach was chosen, not seen."""
        return self.difference is None and self.origin != "transferred"

    def direction(self, side: Side, span: Span, block: int) -> FloatArray:
        """float32[hidden_size], not normalised: the pole's mean minus the one that the pole's choice names, which is
        the neutral one before there is a choice; or the difference with the side's sign, which is the same for every
        span. KeyError for a span that was not captured."""
        direction: FloatArray
        if self.difference is not None:
            direction = self.difference[block] if side == "positive" else -self.difference[block]
        else:
            means = self.means[span]
            direction = means[side][block] - means[self.against(side)][block]
        return direction

    def against(self, side: Side) -> Condition:
        """Whose mean the pole's direction is counted from."""
        choice = self.poles.get(side)
        return opposite(side) if choice is not None and choice.against == "opposite" else "neutral"


def _best(scores: Iterable[float]) -> float | None:
    return max(scores, default=None)


def _check(array: FloatArray, shape: tuple[int, ...], name: str) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype}{list(array.shape)}, not float32{list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")

"""The /api/vectors family: stored persona vectors, and their way in and out."""

from typing import Literal

import msgspec

from vector_store import JudgedBy, Sweep, Transferred, Verdict


class PoleDetails(msgspec.Struct):
    """Where a pole is steered at coefficient 1, and from which mean its direction leads to the pole's; see the vector
    store's PoleChoice. `verdict` says what it was found to be worth, and `reason` what that rests on; both are null
    where it was never evaluated."""

    block: int
    span: Literal["last_prompt", "response"]
    positions: Literal["last_prompt", "response", "all"]
    relative_dose: float
    measured_range: tuple[float, float] | None
    score: float | None
    against: Literal["neutral", "opposite"]
    verdict: Verdict | None
    reason: str | None


class VectorDetails(msgspec.Struct, kw_only=True):
    """A stored persona vector.

    `usable`: a model that is served, under whatever id, has the weights it was taken from; null where the weights of
    its model are unknown, it having never been loaded. `in_use`: of all versions of its trait and weights, requests are
    steered by this one; `note` says in words why, and how to change it. `fingerprint` is "" where nobody knows whose
    weights it is for, and `poles` lacks what was never measured. `judge` is who scored the answers it was made and
    placed by, null where that is unknown; where it is not `scored`, the poles have no score."""

    id: str
    model: str
    trait: str
    positive: str
    negative: str
    origin: Literal["native", "transferred", "imported"]
    method: str
    created: str
    fingerprint: str
    poles: dict[str, PoleDetails]
    judge: JudgedBy | None
    usable: bool | None
    in_use: bool
    note: str


class VectorList(msgspec.Struct):
    data: list[VectorDetails]


class AnswerCount(msgspec.Struct):
    """Answers that were made under one condition, and those that were used."""

    made: int
    kept: int


class FilterDetails(msgspec.Struct):
    """What an answer needed to be used, scores from 0 to 100."""

    min_coherence: float
    positive_trait_above: float
    negative_trait_below: float


class VectorVersion(VectorDetails, kw_only=True):
    """Everything about a version but its numbers. `counts` is by condition, `separation` and `agreement` by span and
    block, `gains` and `effects` by side and block: how much likelier steering at each block makes the pole's answers,
    and what it was seen to do where it was tried by generating. `parent` is the
    version it was made from, `transfer` says by which maps, where it is another model's."""

    n_layers: int
    hidden_size: int
    software_version: str
    counts: dict[str, AnswerCount]
    filters: FilterDetails | None
    separation: dict[str, list[float]]
    agreement: dict[str, list[float]]
    gains: dict[str, list[float | None]]
    effects: dict[str, list[float | None]]
    sweeps: dict[str, Sweep]
    parent: str | None
    transfer: Transferred | None


class VectorCurve(msgspec.Struct):
    """What a version was measured to do over a range of coefficients: `sweeps` by side, see the vector store's
    Sweep."""

    id: str
    model: str
    trait: str
    positive: str
    negative: str
    poles: dict[str, PoleDetails]
    sweeps: dict[str, Sweep]


class VectorVersions(msgspec.Struct):
    """Versions of a trait's vector for one model, newest first."""

    data: list[VectorVersion]


class UseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The path says all; a body, if there is one, is empty."""


class UsedVector(msgspec.Struct):
    """The version that is in use now; `note` says how to go back."""

    id: str
    note: str


class DeletedVectors(msgspec.Struct):
    """The ids of the versions that are gone."""

    deleted: list[str]


class PushRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`repo` is OWNER/REPO on the Hugging Face hub, made (a private one, if so asked) where it is not there."""

    repo: str
    id: str | None = None
    model: str | None = None
    trait: str | None = None
    private: bool = False


class PullRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`repo` is OWNER/REPO on the Hugging Face hub; all its vectors, or those of one model or trait."""

    repo: str
    model: str | None = None
    trait: str | None = None


class Pushed(msgspec.Struct):
    """The repository's address, and the ids of the vectors that are there now."""

    url: str
    ids: list[str]


class Pulled(msgspec.Struct):
    """The ids of the vectors that are here now."""

    ids: list[str]

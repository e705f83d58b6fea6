"""The /api/jobs family, and POST /api/vectors/generate and /measure, which make jobs."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vector_store import SweepPoint

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
Rollouts = Annotated[int, Meta(ge=1, le=1000)]
Questions = Annotated[int, Meta(ge=2, le=20)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Samples = Annotated[int, Meta(ge=1, le=100)]
Coefficients = Annotated[list[Annotated[float, Meta(ge=-4, le=4)]], Meta(min_length=1, max_length=64)]


class GenerateRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which persona vector to make; see the command `extract`. `model_id` and `trait_id` are other names of `model` and
    `trait`. Without a model it is the default one. `judge`: who scores the answers, `rules`, `likelihood`, `model`, a
    model's id or one of the server's `judges`. `budget`: how much is asked, `quick`, `standard` or, by default,
    `thorough`; the first two measure the curve too, and take no `rollouts` and `questions`. `wait`: answer when it is
    made, not at once."""

    model: str | None = None
    model_id: str | None = None
    trait: str | None = None
    trait_id: str | None = None
    rollouts: Rollouts | None = None
    questions: Questions | None = None
    seed: Seed | None = None
    judge: str | None = None
    budget: Literal["quick", "standard", "thorough"] | None = None
    wait: bool = False


class MeasureRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which imported vector to measure in its model: `version` is its id, by default the newest of the trait. Without a
    model it is the default one. `judge` and `wait` are as in GenerateRequest."""

    model: str | None = None
    trait: str
    version: str | None = None
    seed: Seed | None = None
    judge: str | None = None
    wait: bool = False


class SweepRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which vector to sweep: `version` is its id, by default the trait's one in use. `coefficients` are of the trait's
    positive pole, below 0 of the other one; by default -2 to 2 in quarters. `samples`: answers to each question, 4 by
    default. `keep_strength`: coefficient 1 stays what it is, and is only measured. Without a model it is the default
    one. `judge` and `wait` are as in GenerateRequest."""

    model: str | None = None
    trait: str
    version: str | None = None
    coefficients: Coefficients | None = None
    samples: Samples | None = None
    keep_strength: bool = False
    seed: Seed | None = None
    judge: str | None = None
    wait: bool = False


class EvaluateVectorRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which vector to evaluate: `version` is its id, by default the trait's one in use. `budget` says how much is
    asked, `standard` by default; `samples`: answers to each question in each way, by default 1, 2 or 4 by the budget.
    `second_judge` scores a part of the answers too, and the two are compared. Without a model it is the default one.
    `judge` and `wait` are as in GenerateRequest."""

    model: str | None = None
    trait: str
    version: str | None = None
    budget: Literal["quick", "standard", "thorough"] | None = None
    samples: Samples | None = None
    seed: Seed | None = None
    judge: str | None = None
    second_judge: str | None = None
    wait: bool = False


class CompareRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which vector's manners to compare, and at which `coefficient`, 1 by default. `budget` is `quick` by default. For
    the rest see EvaluateVectorRequest."""

    model: str | None = None
    trait: str
    version: str | None = None
    coefficient: Annotated[float, Meta(gt=0, le=2)] = 1.0
    budget: Literal["quick", "standard", "thorough"] = "quick"
    samples: Samples | None = None
    seed: Seed = 0
    judge: str | None = None
    wait: bool = False


class JobProgress(msgspec.Struct):
    """`doing` says in words what the job is at, `fraction` how much of it is done, 0 to 1; `seconds_left` is an
    estimate, null where there is none yet."""

    doing: str
    fraction: float
    seconds_left: float | None


class JobPoint(msgspec.Struct, frozen=True):
    """A point of a curve that is being measured: of the trait's pole on this `side`, in the coefficients that the
    vector has before the sweep sets what 1 is; see the vector store's SweepPoint."""

    side: Literal["positive", "negative"]
    point: SweepPoint


class JobDetails(msgspec.Struct, kw_only=True):
    """A job. Times are Unix seconds. A job that the server's end interrupts is queued again, and goes on where it was.
    `error` says why it failed; `result` is what it made, such as `{"vector": id, "in_use": true, "note": "..."}`, where
    the note says whether requests are steered by it now, and how to go back or to put it to use. `points` are those of
    a curve that is being measured, in the order they came: all so far, in one of the job's events those that are new
    since the event before. A list of jobs has none, nor has a job that has ended: its curve can be read."""

    id: str
    object: Literal["job"] = "job"
    kind: str
    model: str
    parameters: dict[str, Any]
    status: JobStatus
    created: float
    started: float | None
    ended: float | None
    progress: JobProgress
    error: str | None
    result: dict[str, Any] | None
    points: list[JobPoint] = []


class JobList(msgspec.Struct):
    """`has_more`: older ones follow, to be had with `after` the last one's id."""

    data: list[JobDetails]
    has_more: bool = False

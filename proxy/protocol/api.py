"""The /api family: models as this server sees them, and steering tried at several strengths."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.protocol.chat import ChatMessage, FinishReason, Seed, Temperature, Usage
from proxy.protocol.status import UpstreamActivity
from proxy.protocol.steering import Coefficient, SteeringOptions, SteeringReport, SteeringTrace


class ModelDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A served model. `on_demand`: a request has it loaded where that is needed; `error` says why it failed to load.
    The shape, from `family` on, is that of its last loading and absent before; where another server runs the model
    most of it is unknown. `context_length` is in tokens, `world` is "demo" for the demo models. `personas` are those
    it has vectors for, or all where another server runs it and it is set to `prompt`; before its first loading those
    whose vectors bear its id: whether they are of its weights is then still to be seen."""

    id: str
    status: Literal["unloaded", "loading", "ready", "failed"]
    created: int
    on_demand: bool
    error: str | None = None
    family: str | None = None
    n_layers: int | None = None
    hidden_size: int | None = None
    context_length: int | None = None
    fingerprint: str | None = None
    engine: str | None = None
    device: str | None = None
    dtype: str | None = None
    world: str | None = None
    personas: list[str] | None = None


class ModelDetailsList(msgspec.Struct):
    data: list[ModelDetails]


class DrainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`url` is a server's base URL, as the status has it."""

    url: str
    draining: bool = True


class UpstreamList(msgspec.Struct):
    """The servers that run a model."""

    data: list[UpstreamActivity]


class LoadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`wait`: answer when the model is ready; otherwise at once, with 202 while it loads."""

    wait: bool = True


class UnloadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`force`: unload it also while requests are under way on it, which end in an error."""

    force: bool = False


class SteeringTestRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`prompt` is short for one user message; give it or `messages`. Without `seed` one is drawn and shared by all
    answers, so that they differ by the steering alone. With `stream` the answers come while they are made."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1)] | None = None
    persona: str
    coefficient: Coefficient | None = None
    coefficients: Annotated[list[Coefficient], Meta(min_length=1, max_length=8)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Temperature | None = None
    seed: Seed | None = None
    stream: bool | None = None
    steering: SteeringOptions | None = None


class TestedAnswer(msgspec.Struct, kw_only=True):
    """One answer; `reasoning` is absent where the model did not reason."""

    coefficient: float
    content: str
    reasoning: str | UnsetType = UNSET
    finish_reason: FinishReason
    usage: Usage
    steering: SteeringReport


class SteeringTestResult(msgspec.Struct, kw_only=True):
    """`steered` is in the order of the coefficients asked for."""

    model: str
    persona: str
    seed: int
    unsteered: TestedAnswer
    steered: list[TestedAnswer]


class SteeringTestOpening(msgspec.Struct, kw_only=True):
    """The first event of a stream. `coefficients` are those of the answers by their index, the unsteered one first."""

    object: Literal["steering.test"] = "steering.test"
    model: str
    persona: str
    seed: int
    coefficients: list[float]


class SteeringTestChunk(msgspec.Struct, kw_only=True):
    """What an event of a stream adds to the answer `index`: text of its content or its reasoning. The last of an answer
    has `finish_reason`, `usage` and the whole report; others have a trace where one was asked for."""

    object: Literal["steering.test.chunk"] = "steering.test.chunk"
    index: int
    coefficient: float
    content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    finish_reason: FinishReason | None = None
    usage: Usage | UnsetType = UNSET
    steering: SteeringReport | SteeringTrace | UnsetType = UNSET

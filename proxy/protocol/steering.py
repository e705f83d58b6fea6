"""How a request asks to be steered, and what its answer says was done.

Both structs cross the wire inside a chat completion: the options as its `steering` field, the report as the field of
the same name in the response.
"""

from typing import Annotated, Literal

import msgspec

from proxy.engines.base import Mode, Positions
from proxy.steering.options import CHANNEL_NAMES, MAX_RELATIVE_DOSE, ChannelName, OnExceed

Method = Literal["auto", "activation", "sampling", "prompt"]
BlockIndex = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

MIN_COEFFICIENT = -2.0
MAX_COEFFICIENT = 2.0
Coefficient = Annotated[float, msgspec.Meta(ge=MIN_COEFFICIENT, le=MAX_COEFFICIENT)]


class SteeringOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request's `steering` object. `positions` None is the vector's own, `layers` "best" its measured block;
    a list names 0-based blocks. `channels` limits it to a model's reasoning ("analysis") or its answer ("final").
    `max_relative_dose` is in median residual norms. `projection` names the poles to read the answer's projection on,
    None those it is steered to; `trace` also tells it token by token. `random_direction` is for comparison: a random
    direction of that number, of the same dose at the same place, instead of the persona's own."""

    method: Method = "auto"
    mode: Mode = "add"
    positions: Positions | None = None
    layers: Literal["best"] | Annotated[list[BlockIndex], msgspec.Meta(min_length=1)] = "best"
    channels: Annotated[list[ChannelName], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: list(CHANNEL_NAMES)
    )
    max_relative_dose: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = MAX_RELATIVE_DOSE
    on_exceed: OnExceed = "report"
    projection: Annotated[list[str], msgspec.Meta(max_length=8)] | None = None
    trace: bool = False
    random_direction: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class VectorUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A vector that took part: its id in the store and where it came from ("native", "transferred", "imported").
    `model` is the one it belongs to, where that is not the one that answers: then its strength alone was used."""

    id: str
    origin: str
    model: str | None = None


class SamplingUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sampling parameters the answer was drawn with; the penalty is absent where it does nothing."""

    temperature: float
    top_p: float
    repetition_penalty: float | None = None


class TracedToken(msgspec.Struct, frozen=True):
    """A generated token's text, "" for a special token or an unfinished character, and its projections by pole."""

    token: str
    projection: dict[str, float]


class SteeringTrace(msgspec.Struct, frozen=True):
    """In the chunks of a stream before the last: tokens read since the chunk before, in their order."""

    trace: list[TracedToken]


class SteeringReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done to one answer. Optional fields are absent where they don't apply; `beyond_measured_range` is also
    absent where the vector's range was never measured, and `channels` where all were steered. Positions, layers,
    channels and modes that the range was not measured with are beyond it. `max_tokens`: the answer's limit, where the
    request asked for more than the model's context has room for.

    `random_direction`: not the vectors' own directions were added, but random ones of that number, as strong.
    `projection`: by pole, where the answer lies between the neutral mean (0) and the pole's own (1), as the unsteered
    model's block `projection_layers` sees its text; the mean over its tokens, and over answers where there are several.
    `trace`: the tokens one by one; in a stream, those no earlier chunk has told. `warnings`: of personas that this
    model was found to be unable to show by its vector.
    """

    personas: dict[str, float]
    method: Literal["activation", "sampling", "prompt", "none"]
    mode: Mode | None = None
    positions: Positions | None = None
    channels: list[ChannelName] | None = None
    layers: list[int]
    relative_dose: float
    clamped: bool
    beyond_measured_range: bool | None = None
    vectors: list[VectorUse]
    random_direction: int | None = None
    sampling: SamplingUse | None = None
    max_tokens: int | None = None
    projection: dict[str, float] | None = None
    projection_layers: dict[str, int] | None = None
    trace: list[TracedToken] | None = None
    warnings: list[str] | None = None


UNSTEERED = SteeringReport(personas={}, method="none", layers=[], relative_dose=0.0, clamped=False, vectors=[])

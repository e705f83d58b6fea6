"""How a request asks to be steered, and what its answer says was done.

Both structs cross the wire inside a chat completion: the options as its `steering` field, the report as the field of
the same name in the response.
"""

from typing import Annotated, Literal

import msgspec

from proxy.engines.base import Mode, Positions

Method = Literal["auto", "activation", "sampling", "prompt"]
OnExceed = Literal["report", "clamp", "reject"]
BlockIndex = Annotated[int, msgspec.Meta(ge=0)]

MIN_COEFFICIENT = -2.0
MAX_COEFFICIENT = 2.0
Coefficient = Annotated[float, msgspec.Meta(ge=MIN_COEFFICIENT, le=MAX_COEFFICIENT)]


class SteeringOptions(msgspec.Struct, frozen=True):
    """The request's `steering` object. `positions` None is the vector's own, `layers` "best" its measured block;
    a list names 0-based blocks. `max_relative_dose` is in median residual norms."""

    method: Method = "auto"
    mode: Mode = "add"
    positions: Positions | None = None
    layers: Literal["best"] | Annotated[list[BlockIndex], msgspec.Meta(min_length=1)] = "best"
    max_relative_dose: Annotated[float, msgspec.Meta(gt=0)] = 0.8
    on_exceed: OnExceed = "report"
    trace: bool = False


class VectorUse(msgspec.Struct, frozen=True):
    """A vector that took part: its id in the store and where it came from ("native", "transferred", "imported")."""

    id: str
    origin: str


class SamplingUse(msgspec.Struct, frozen=True):
    """The sampling parameters the answer was drawn with."""

    temperature: float
    top_p: float


class SteeringReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done to one answer. Optional fields are absent where they don't apply; `beyond_measured_range` is also
    absent where the vector's range was never measured."""

    personas: dict[str, float]
    method: Literal["activation", "prompt", "none"]
    mode: Mode | None = None
    positions: Positions | None = None
    layers: list[int]
    relative_dose: float
    clamped: bool
    beyond_measured_range: bool | None = None
    vectors: list[VectorUse]
    sampling: SamplingUse | None = None


UNSTEERED = SteeringReport(personas={}, method="none", layers=[], relative_dose=0.0, clamped=False, vectors=[])

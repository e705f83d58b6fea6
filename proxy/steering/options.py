"""How a plan may be made otherwise than a vector says, and what was made of it: steering's own words for both.

Knows nothing of requests; the wire's structs are made from these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.engines.base import Mode, Positions

OnExceed = Literal["report", "clamp", "reject"]
ChannelName = Literal["analysis", "final"]

CHANNEL_NAMES: tuple[ChannelName, ...] = ("analysis", "final")
MAX_RELATIVE_DOSE = 0.8


@dataclass(frozen=True)
class PlanOptions:
    """`positions` None is the vector's own, `layers` "best" its measured block; a list names 0-based blocks. `channels`
    limits steering to a model's reasoning ("analysis") or its answer ("final"). `max_relative_dose` is in median
    residual norms, and `on_exceed` what is done about more."""

    mode: Mode = "add"
    positions: Positions | None = None
    layers: Literal["best"] | Sequence[int] = "best"
    channels: Sequence[ChannelName] = CHANNEL_NAMES
    max_relative_dose: float = MAX_RELATIVE_DOSE
    on_exceed: OnExceed = "report"


@dataclass(frozen=True)
class PlanReport:
    """What a plan does. `positions` is the widest there is, None where nothing is done; `channels` None is all;
    `layers` are in order. `clamped`: the dose was lowered to the limit.

    `beyond_measured_range`: whether some coefficient is outside the range in which answers were found coherent. What
    was never measured is beyond what was: other positions, blocks, channels or modes than those the vector's range was
    measured with. None where nobody measured that range.
    """

    positions: Positions | None = None
    channels: tuple[ChannelName, ...] | None = None
    layers: tuple[int, ...] = ()
    relative_dose: float = 0.0
    clamped: bool = False
    beyond_measured_range: bool | None = None

"""GET /api/monitor: the projections of recent answers, by persona."""

import msgspec


class MonitoredAnswer(msgspec.Struct, kw_only=True):
    """`time` is in Unix seconds, when the answer ended; `coefficient` is null where the pole looked at is not one that
    was steered to."""

    time: float
    projection: float
    tokens: int
    coefficient: float | None


class MeanProjection(msgspec.Struct):
    """Of `n` answers; the standard error is null for fewer than two."""

    n: int
    mean: float
    standard_error: float | None


class Drift(msgspec.Struct):
    """How much higher the recent mean is than the earlier one; see MeanProjection."""

    difference: float
    standard_error: float | None


class MonitoredSeries(msgspec.Struct, kw_only=True):
    """Answers that can be compared: of one model, steered to the same poles ("none" for none) and looked at for the
    same `pole`, in the same block, by the same vector. `separation` is how well that block tells the trait's poles
    apart, as AUROC of answers held out when the vector was made, or null.

    `count` answers since the server started. `recent` is of the last `window` of them, `earlier` of those before, as
    far as they are kept; `answers` are the recent ones, oldest first.
    """

    model: str
    persona: str
    pole: str
    vector: str
    layer: int
    separation: float | None
    count: int
    recent: MeanProjection
    earlier: MeanProjection | None
    drift: Drift | None
    answers: list[MonitoredAnswer]


class MonitorReport(msgspec.Struct):
    window: int
    data: list[MonitoredSeries]

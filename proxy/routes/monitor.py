"""GET /api/monitor: how far recent answers lie towards a pole, and whether that drifts."""

from typing import Any

from litestar import Request, get
from litestar.params import FromQuery

from proxy.chat.personas import NONE, check_known, label
from proxy.errors import InvalidRequest
from proxy.protocol.monitor import Drift, MeanProjection, MonitoredAnswer, MonitoredSeries, MonitorReport
from proxy.routes.errors import declared
from proxy.services import services_of
from proxy.steering.monitor import KEPT_ANSWERS, Series, SeriesKey
from proxy.steering.statistics import Mean, drift, mean_of

WINDOW = 20  # answers that count as recent


@get("/monitor", summary="The drift of recent answers, by persona", responses=declared(400, 401, 403, 404))
async def get_monitor(
    request: Request[Any, Any, Any],
    model: FromQuery[str | None] = None,
    persona: FromQuery[str | None] = None,
    window: FromQuery[int] = WINDOW,
) -> MonitorReport:
    services = services_of(request)
    if not 1 <= window <= KEPT_ANSWERS:
        raise InvalidRequest(f"window: must be from 1 to {KEPT_ANSWERS} answers, not {window}", param="window")
    if model is not None:
        services.registry.state(model)
    known = await services.poles()
    for name in (persona or NONE).split(","):
        if name != NONE:
            check_known(name, known, "persona")
    found = services.monitor.series(model, None if persona is None else label(persona.split(",")))
    return MonitorReport(window, [_series(key, series, window) for key, series in found])


def _series(key: SeriesKey, series: Series, window: int) -> MonitoredSeries:
    readings = list(series.readings)
    recent, earlier = recent_and_earlier(series, window)
    return MonitoredSeries(
        model=key.model,
        persona=key.persona,
        pole=key.pole,
        vector=key.vector_id,
        layer=key.block,
        separation=key.separation,
        count=series.count,
        recent=_mean(recent),
        earlier=None if earlier is None else _mean(earlier),
        drift=None if earlier is None else Drift(*drift(recent, earlier)),
        answers=[
            MonitoredAnswer(
                time=reading.time,
                projection=reading.projection,
                tokens=reading.tokens,
                coefficient=reading.coefficient,
            )
            for reading in readings[-window:]
        ],
    )


def recent_and_earlier(series: Series, window: int) -> tuple[Mean, Mean | None]:
    """The means of the last `window` answers of a series, and of those before, where there are any."""
    values = [reading.projection for reading in series.readings]
    recent = mean_of(values[-window:])
    assert recent is not None
    return recent, mean_of(values[:-window])


def _mean(mean: Mean) -> MeanProjection:
    return MeanProjection(mean.n, mean.mean, mean.standard_error)

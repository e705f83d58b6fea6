"""GET /metrics: the server's counts and measures for Prometheus."""

import asyncio
from collections import Counter
from typing import Any

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec

from proxy.chat.personas import NONE
from proxy.routes.errors import declared
from proxy.routes.monitor import WINDOW, recent_and_earlier
from proxy.routes.status import activity
from proxy.services import Services, services_of
from proxy.steering.statistics import drift
from proxy.steering.traits.trait import Poles
from proxy.telemetry.metrics import Moment, RecentProjection


@get(
    "/metrics",
    summary="The server's metrics, for Prometheus",
    description="In Prometheus' text format, or as OpenMetrics where that is asked for. Of others' requests it tells "
    "nothing but counts and times.",
    responses={200: ResponseSpec(str, generate_examples=False, media_type="text/plain"), **declared(401, 403)},
    media_type="text/plain",
)
async def get_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    known = await services.poles()
    services.metrics.show(_moment(services, known), known)
    accept = request.headers.get("accept", "")
    body, media_type = await asyncio.to_thread(services.metrics.rendered, accept)
    return Response(body, media_type=media_type)


def _moment(services: Services, known: Poles) -> Moment:
    models = [activity(services, state) for state in services.registry.models()]
    return Moment(
        models=models,
        generated={model.id: services.scheduler.pace(model.id).total for model in models},
        max_batch=services.settings.max_batch,
        max_queue=services.settings.max_queue,
        jobs=dict(Counter((job.kind, job.status) for job in services.jobs.going_on())),
        projections=_projections(services, known),
    )


def _projections(services: Services, known: Poles) -> list[RecentProjection]:
    """Of each model, persona and pole the series that was used last. Mixtures are left out: clients make up as many of
    those as they like."""
    found: dict[tuple[str, str, str], RecentProjection] = {}
    for key, series in services.monitor.series():
        place = key.model, key.persona, key.pole
        if place in found or not {key.persona, key.pole} <= {*known, NONE}:
            continue
        recent, earlier = recent_and_earlier(series, WINDOW)
        found[place] = RecentProjection(
            model=key.model,
            persona=key.persona,
            pole=key.pole,
            mean=recent.mean,
            drift=None if earlier is None else drift(recent, earlier)[0],
        )
    return list(found.values())

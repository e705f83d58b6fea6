"""GET /api/status: memory, what is under way, how fast it goes, and the errors of late."""

import os
from pathlib import Path
from typing import Any

from litestar import Request, get
from msgspec import UNSET

from proxy import __version__
from proxy.engines.base import Upstream
from proxy.engines.registry import ModelState
from proxy.protocol.status import MemoryUse, ModelActivity, RecentError, ServerStatus, UpstreamActivity
from proxy.routes.errors import declared
from proxy.services import Services, services_of

_PROCESS = Path("/proc/self/statm")  # on Linux: its second number is the memory taken, in pages


@get(
    "/status",
    summary="What the server does now, and what went wrong of late",
    description="Memory, answers under way and waiting, jobs, tokens per second, and recent errors. Of others' "
    "requests it tells nothing but that.",
    responses=declared(401, 403),
)
async def get_status(request: Request[Any, Any, Any]) -> ServerStatus:
    services = services_of(request)
    return ServerStatus(
        version=__version__,
        started=services.started,
        memory=_memory(),
        max_batch=services.settings.max_batch,
        max_queue=services.settings.max_queue,
        models=[activity(services, state) for state in services.registry.models()],
        errors=[
            RecentError(
                status=kind.status,
                code=kind.code,
                message=kind.message,
                route=kind.route,
                count=last.count,
                time=last.time,
                request_id=last.request_id,
            )
            for kind, last in services.errors.newest()
        ],
    )


def activity(services: Services, state: ModelState) -> ModelActivity:
    """What one model does now."""
    scheduler = services.scheduler
    cached_bytes = services.registry.cached_bytes(state.id)
    weights_bytes = None if cached_bytes is None or state.info is None else state.info.weights_bytes
    running = scheduler.running(state.id)
    return ModelActivity(
        id=state.id,
        status=state.status,
        weights_bytes=weights_bytes,
        cached_bytes=cached_bytes,
        running=running,
        waiting=scheduler.taken(state.id) - running,
        jobs=sum(job.model == state.id for job in services.jobs.going_on()),
        tokens_per_second=scheduler.pace(state.id).per_second(),
        upstreams=[upstream_activity(each) for each in services.registry.upstreams(state.id)] or UNSET,
    )


def upstream_activity(upstream: Upstream) -> UpstreamActivity:
    """What one server does for a model."""
    return UpstreamActivity(
        url=upstream.url,
        state=upstream.state,
        problem=upstream.problem,
        running=upstream.running,
        ended=dict(upstream.ended),
    )


def _memory() -> MemoryUse:
    if not hasattr(os, "sysconf"):
        return MemoryUse(process_bytes=None, machine_bytes=None)
    page = os.sysconf("SC_PAGE_SIZE")
    process_bytes = int(_PROCESS.read_text().split()[1]) * page if _PROCESS.exists() else None
    return MemoryUse(process_bytes=process_bytes, machine_bytes=os.sysconf("SC_PHYS_PAGES") * page)

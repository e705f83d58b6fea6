"""The web app: routes, keys, errors and limits put together. Only wiring lives here."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import YamlRenderPlugin

from proxy import __version__, demo
from proxy.chat.available import Available
from proxy.chat.prepare import Preparation
from proxy.chat.scheduler import Scheduler
from proxy.chat.turn import Turns
from proxy.engines.registry import Registry
from proxy.jobs.kinds.comparing import comparison
from proxy.jobs.kinds.evaluating import evaluation_kind
from proxy.jobs.kinds.extraction import EXTRACTION, extraction
from proxy.jobs.kinds.measuring import measuring_kind
from proxy.jobs.kinds.sweeping import sweeping_kind
from proxy.jobs.kinds.trait_writing import trait_writing_kind
from proxy.jobs.kinds.transferring import applying_kind, evaluating_kind, transferring_kind
from proxy.jobs.kinds.vectors import Surroundings
from proxy.jobs.queue import JobQueue
from proxy.jobs.store import JobStore
from proxy.judges import served_judges
from proxy.routes import observe
from proxy.routes.api_models import drain_upstream, get_model_details, list_model_details, load_model, unload_model
from proxy.routes.auth import admin_guard, client_guard, metrics_guard
from proxy.routes.body import json_guard
from proxy.routes.chat import create_chat_completion
from proxy.routes.completions import create_completion
from proxy.routes.embeddings import refuse_embeddings
from proxy.routes.errors import EXCEPTION_HANDLERS
from proxy.routes.evaluations import compare_vectors, evaluate_vectors, get_evaluation
from proxy.routes.jobs import cancel_job, generate_vector, get_job, list_jobs, measure_vector, watch_job
from proxy.routes.metrics import get_metrics
from proxy.routes.models import get_model, health, list_models, ready
from proxy.routes.monitor import get_monitor
from proxy.routes.recent_errors import RecentErrors
from proxy.routes.responses import create_response, delete_response, get_response
from proxy.routes.status import get_status
from proxy.routes.steering_test import try_steering
from proxy.routes.sweeps import get_curve, get_curve_picture, sweep_vector
from proxy.routes.traits import (
    change_trait,
    create_trait,
    delete_trait,
    download_trait,
    generate_trait,
    get_trait,
    import_trait,
    list_traits,
)
from proxy.routes.transfers import apply_transfer, evaluate_transfer, fit_transfer, list_evaluations, list_transfers
from proxy.routes.upload import UploadPlaces
from proxy.routes.vectors import (
    delete_versions,
    download_vector,
    get_versions,
    import_vector,
    list_vectors,
    pull_vectors,
    push_vectors,
    use_version,
)
from proxy.services import Services, services_of
from proxy.serving.packed import unpacked
from proxy.settings import Settings
from proxy.steering.monitor import Monitor
from proxy.steering.traits.files import TraitFolder
from proxy.steering.traits.trait import Traits
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tracing import Tracing
from proxy.ui.page import get_asset, get_page, get_visualization
from proxy.ui.schema.viewer import ViewerPlugin
from vector_store import VectorStore

OPENAI = (
    create_chat_completion,
    create_completion,
    create_response,
    get_response,
    delete_response,
    list_models,
    get_model,
    refuse_embeddings,
)
ALIAS = {observe.PREFIX: "/v1"}  # counted with the paths that have it


class Routes(Router):
    """Routes that share a path, guards and limits, and belong to one app."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # An app takes copies, for routers that several apps share. Copying all handlers is a third of making the app.
        return self


def create_app(settings: Settings, registry: Registry, tracing: Tracing | None = None) -> Litestar:
    """The app over a registry, which the caller starts and closes; so it does with `tracing`. SetupError for a bad
    trait file."""
    demo.register()
    cors = CORSConfig(
        allow_origins=settings.cors_origins,
        expose_headers=[*observe.HEADERS, "retry-after", "x-should-retry"],
    )
    return Litestar(
        route_handlers=[
            Routes("/v1", route_handlers=OPENAI, guards=[client_guard], tags=["OpenAI"]),
            # For clients whose base URL lacks the /v1. The OpenAPI document has each path once.
            Routes("/", route_handlers=OPENAI, guards=[client_guard], include_in_schema=False, opt=ALIAS),
            Routes(
                "/api",
                route_handlers=[
                    list_model_details,
                    get_model_details,
                    load_model,
                    unload_model,
                    drain_upstream,
                    list_traits,
                    get_trait,
                    create_trait,
                    generate_trait,
                    change_trait,
                    delete_trait,
                    download_trait,
                    import_trait,
                    list_vectors,
                    get_versions,
                    delete_versions,
                    use_version,
                    download_vector,
                    push_vectors,
                    pull_vectors,
                    generate_vector,
                    measure_vector,
                    fit_transfer,
                    list_transfers,
                    apply_transfer,
                    evaluate_transfer,
                    list_evaluations,
                    list_jobs,
                    get_job,
                    cancel_job,
                    watch_job,
                    try_steering,
                    sweep_vector,
                    evaluate_vectors,
                    compare_vectors,
                    get_evaluation,
                    get_curve,
                    get_curve_picture,
                    get_monitor,
                    get_status,
                ],
                guards=[admin_guard],
                tags=["Steering"],
            ),
            Routes(
                "/api",
                route_handlers=[import_vector],
                guards=[admin_guard],
                tags=["Steering"],
                request_max_body_size=settings.max_upload_bytes,
            ),
            Routes("/", route_handlers=[get_metrics], guards=[metrics_guard]),
            health,
            ready,
            get_page,
            get_visualization,
            get_asset,
        ],
        lifespan=[_jobs],
        guards=[json_guard],
        middleware=[*([] if tracing is None else [tracing.middleware()]), unpacked],
        state=State({"services": _services(settings, registry, tracing)}),
        exception_handlers=EXCEPTION_HANDLERS,
        before_send=[observe.before_send],
        cors_config=cors if settings.cors_origins else None,
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig(
            "Persona proxy", __version__, path="/schema", render_plugins=[ViewerPlugin(), YamlRenderPlugin()]
        ),
        # Litestar's own set-up would replace the handlers the command line has installed.
        logging_config=None,
    )


def _services(settings: Settings, registry: Registry, tracing: Tracing | None) -> Services:
    traits = Traits(*settings.trait_folders)
    own_traits = TraitFolder(traits, settings.traits_dir, settings.max_traits)
    store = VectorStore(settings.vector_folders)
    judges = served_judges(settings.judges, registry)
    around = Surroundings(
        traits=lambda: traits.current,
        judges=judges,
        store=store,
        parts_folder=settings.parts_dir,
        max_running=max(settings.max_batch // 2, 1),
    )
    kinds = [
        extraction(around),
        measuring_kind(around),
        sweeping_kind(around),
        evaluation_kind(around),
        comparison(around),
        trait_writing_kind(own_traits, around.parts_folder, around.max_running),
        transferring_kind(around, settings.transfers_dir),
        applying_kind(around, settings.transfers_dir),
        evaluating_kind(around, settings.transfers_dir),
    ]
    metrics = Metrics(kind.name for kind in kinds)
    jobs = JobQueue(
        JobStore(settings.jobs_dir),
        registry,
        kinds,
        on_end=lambda job: metrics.note_job(job.kind, job.status),
    )
    under_way = partial(jobs.under_way, EXTRACTION)
    available = Available(lambda: traits.poles, store, registry, settings.models, under_way)
    scheduler, monitor = Scheduler(settings.max_batch, settings.max_queue), Monitor()
    return Services(
        settings=settings,
        registry=registry,
        known_traits=traits,
        own_traits=own_traits,
        store=store,
        judges=judges,
        scheduler=scheduler,
        available=available,
        turns=Turns(registry, scheduler, Preparation(available), monitor),
        jobs=jobs,
        monitor=monitor,
        uploads=UploadPlaces(),
        errors=RecentErrors(),
        metrics=metrics,
        tracing=tracing,
        started=time.time(),
    )


@asynccontextmanager
async def _jobs(app: Litestar) -> AsyncIterator[None]:
    jobs = services_of(app).jobs
    await jobs.start()
    try:
        yield
    finally:
        await jobs.stop()

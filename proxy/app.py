"""The web app: routes, keys, errors and limits put together. Only wiring lives here."""

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig

from proxy import __version__
from proxy.engines.registry import Registry
from proxy.preparation import Preparation
from proxy.routes import observe
from proxy.routes.api import get_trait, list_traits, list_vectors
from proxy.routes.api_models import get_model_details, list_model_details, load_model, unload_model
from proxy.routes.auth import admin_guard, client_guard
from proxy.routes.chat import create_chat_completion
from proxy.routes.errors import EXCEPTION_HANDLERS
from proxy.routes.models import get_model, health, list_models, ready
from proxy.routes.steering_test import try_steering
from proxy.scheduler import Scheduler
from proxy.services import Services
from proxy.settings import Settings
from proxy.steering.traits import load_traits, poles
from vector_store import VectorStore


def create_app(settings: Settings, registry: Registry) -> Litestar:
    """The app over a registry, which the caller starts and closes. SetupError for a bad trait file."""
    cors = CORSConfig(allow_origins=settings.cors_origins, expose_headers=[observe.REQUEST_ID])
    return Litestar(
        route_handlers=[
            Router(
                "/v1",
                route_handlers=[create_chat_completion, list_models, get_model],
                guards=[client_guard],
                tags=["OpenAI"],
            ),
            Router(
                "/api",
                route_handlers=[
                    list_model_details,
                    get_model_details,
                    load_model,
                    unload_model,
                    list_traits,
                    get_trait,
                    list_vectors,
                    try_steering,
                ],
                guards=[admin_guard],
                tags=["Steering"],
            ),
            health,
            ready,
        ],
        state=State({"services": _services(settings, registry)}),
        exception_handlers=EXCEPTION_HANDLERS,
        before_send=[observe.before_send],
        cors_config=cors if settings.cors_origins else None,
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig("Persona proxy", __version__, path="/schema"),
        # Litestar's own set-up would replace the handlers the command line has installed.
        logging_config=None,
    )


def _services(settings: Settings, registry: Registry) -> Services:
    traits = load_traits(settings.traits_dir)
    store = VectorStore(settings.vector_folders)
    return Services(
        settings=settings,
        registry=registry,
        traits=traits,
        poles=poles(traits),
        store=store,
        scheduler=Scheduler(settings.max_batch, settings.max_queue),
        preparation=Preparation(poles(traits), store, registry),
    )

"""GET /v1/models and /v1/models/{id}, /health and /ready."""

from typing import Any

import anyio.to_thread
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from proxy.engines.registry import ModelState
from proxy.errors import ModelNotFound, ModelUnavailable
from proxy.protocol.errors import ErrorDetail
from proxy.protocol.models import Health, ModelCard, ModelList, ModelReadiness, NotReady, Readiness
from proxy.routes.errors import declared
from proxy.services import Services, services_of


@get("/models", summary="The models, and each model:persona that is ready", responses=declared(401))
async def list_models(request: Request[Any, Any, Any]) -> ModelList:
    return ModelList(data=await anyio.to_thread.run_sync(_cards, services_of(request)))


@get("/models/{model_id:path}", summary="One model, or model:persona", responses=declared(401, 404))
async def get_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> ModelCard:
    name = model_id.removeprefix("/")
    return await anyio.to_thread.run_sync(_card, services_of(request), name)


def _cards(services: Services) -> list[ModelCard]:
    cards = []
    for state in services.registry.models():
        if state.status != "failed":
            cards.append(ModelCard(id=state.id, created=state.created))
            cards += [ModelCard(id=f"{state.id}:{name}", created=state.created) for name in _personas(services, state)]
    return cards


def _personas(services: Services, state: ModelState) -> list[str]:
    return services.preparation.personas_of(state.engine.info) if state.engine is not None else []


def _card(services: Services, name: str) -> ModelCard:
    known = {card.id: card for card in _cards(services)}
    if name in known:
        return known[name]
    if services.persona_of_model(name) is not None:
        return ModelCard(id=name, created=known[name.rpartition(":")[0]].created)
    raise ModelNotFound(f"The model {name!r} does not exist. Possible: {', '.join(known)}.", param="model")


@get("/health", summary="Whether the server runs", tags=["state"])
async def health() -> Health:
    return Health()


@get(
    "/ready",
    summary="Whether every model has been loaded, or failed to",
    tags=["state"],
    responses={
        200: ResponseSpec(Readiness, description="No model is loading any more", generate_examples=False),
        503: ResponseSpec(NotReady, description="A model is still loading", generate_examples=False),
    },
)
async def ready(request: Request[Any, Any, Any]) -> Response[Any]:
    models = [ModelReadiness(state.id, state.status, state.error) for state in services_of(request).registry.models()]
    loading = [model.id for model in models if model.status == "loading"]
    if not loading:
        return Response(Readiness("ready", models))
    error = ModelUnavailable(f"Still loading: {', '.join(loading)}.")
    detail = ErrorDetail(error.message, error.type, error.param, error.code)
    return Response(NotReady(detail, models), status_code=error.status, headers={"retry-after": "2"})

"""GET /v1/models and /v1/models/{id}, /health and /ready."""

from typing import Any

import anyio.to_thread
import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import UNSET

from proxy.catalogue.known import how_to_serve
from proxy.chat.personas import split_model
from proxy.errors import ModelNotFound, ModelUnavailable
from proxy.protocol.errors import ErrorDetail
from proxy.protocol.models import Health, ModelCard, ModelList, ModelReadiness, NotReady, Readiness
from proxy.routes.auth import may_administer
from proxy.routes.errors import declared
from proxy.services import Services, services_of


@get("/models", summary="The models that can be asked, and each model:persona", responses=declared(401))
async def list_models(request: Request[Any, Any, Any]) -> ModelList:
    return ModelList(data=await anyio.to_thread.run_sync(_cards, services_of(request)))


@get("/models/{model_id:path}", summary="One model, or model:persona", responses=declared(401, 404))
async def get_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> ModelCard:
    name = model_id.removeprefix("/")
    return await anyio.to_thread.run_sync(_card, services_of(request), name)


def _cards(services: Services) -> list[ModelCard]:
    """Not among them: models that failed to load, and models that were unloaded and that no request will load. The
    personas of a model that was never loaded are the ones its id has vectors for."""
    cards = []
    for state in services.registry.models():
        if state.status in ("loading", "ready") or (state.status == "unloaded" and state.on_demand):
            names = [state.id, *(f"{state.id}:{persona}" for persona in services.available.personas_of(state))]
            length = UNSET if state.info is None else state.info.context_length or UNSET
            cards += [
                ModelCard(id=name, created=state.created, context_length=length, max_model_len=length) for name in names
            ]
    return cards


def _card(services: Services, name: str) -> ModelCard:
    known = {card.id: card for card in _cards(services)}
    if name in known:
        return known[name]
    model, suffix = split_model(name, services.model_ids)
    if (card := known.get(f"{model}:{suffix.persona}")) is not None:
        return msgspec.structs.replace(card, id=name)
    raise ModelNotFound(f"The model {name!r} does not exist. Possible: {', '.join(known)}.{how_to_serve(name)}")


@get("/health", summary="Whether the server runs", tags=["state"])
async def health() -> Health:
    return Health()


@get(
    "/ready",
    summary="Whether every model of the server's start has been loaded, or failed to",
    tags=["state"],
    responses={
        200: ResponseSpec(Readiness, description="No model is loading any more", generate_examples=False),
        503: ResponseSpec(NotReady, description="A model is still loading", generate_examples=False),
    },
)
async def ready(request: Request[Any, Any, Any]) -> Response[Any]:
    states, told = services_of(request).registry.models(), may_administer(request)
    models = [ModelReadiness(state.id, state.status, state.error if told else None) for state in states]
    loading = [state.id for state in states if state.awaited]
    if not loading:
        return Response(Readiness("ready", models))
    error = ModelUnavailable(f"Still loading: {', '.join(loading)}.")
    detail = ErrorDetail(error.message, error.type, error.param, error.code)
    return Response(NotReady(detail, models), status_code=error.status, headers={"retry-after": "2"})

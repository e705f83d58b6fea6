"""GET /api/models and /api/models/{id}, POST /api/models/{id}/load, /unload and /drain: models and their state.

A model's id is one part of the path or, as hub names are, two: a parameter that takes a whole path could only end one.
"""

import dataclasses
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body

from proxy.engines.registry import ModelState
from proxy.protocol.api import DrainRequest, LoadRequest, ModelDetails, ModelDetailsList, UnloadRequest, UpstreamList
from proxy.routes.answering import unless_gone
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.status import upstream_activity
from proxy.services import Services, services_of

PATHS = ["/models/{model:str}", "/models/{owner:str}/{model:str}"]


def _asked(request: Request[Any, Any, Any]) -> str:
    return "/".join(request.path_params.values())


@get("/models", summary="Every model with its state and shape", responses=declared(401, 403))
async def list_model_details(request: Request[Any, Any, Any]) -> ModelDetailsList:
    services = services_of(request)
    states = services.registry.models()
    return ModelDetailsList(await anyio.to_thread.run_sync(lambda: [_details(services, state) for state in states]))


@get(PATHS, summary="One model with its state and shape", responses=declared(401, 403, 404))
async def get_model_details(request: Request[Any, Any, Any]) -> ModelDetails:
    return await _now(services_of(request), _asked(request))


@post(
    [f"{path}/load" for path in PATHS],
    status_code=200,
    dto=StrictBody[LoadRequest],
    return_dto=None,
    summary="Load a model",
    description="Answers when the model is ready, or at once if told not to wait. One that failed to load is tried "
    "again; one that is ready stays as it is. A client that goes away does not break the loading off.",
    responses={
        200: ResponseSpec(ModelDetails, description="It is ready", generate_examples=False),
        202: ResponseSpec(ModelDetails, description="It is loading", generate_examples=False),
        **declared(400, 401, 403, 404, 413, 503),
    },
)
async def load_model(
    request: Request[Any, Any, Any], data: Annotated[LoadRequest | None, Body()] = None
) -> Response[ModelDetails]:
    services, model = services_of(request), _asked(request)
    hold = services.registry.load(model)
    try:
        if data is None or data.wait:
            await unless_gone(request, hold.loaded())
        details = await _now(services, model)
    finally:
        hold.release()
    return Response(details, status_code=202 if details.status == "loading" else 200)


@post(
    [f"{path}/unload" for path in PATHS],
    status_code=200,
    dto=StrictBody[UnloadRequest],
    return_dto=None,
    summary="Unload a model",
    description="Gives its memory back. A model on demand is loaded again by the next request for it, any other by "
    "`load` alone; one that is not loaded stays as it is.",
    responses=declared(400, 401, 403, 404, 409, 413),
)
async def unload_model(
    request: Request[Any, Any, Any], data: Annotated[UnloadRequest | None, Body()] = None
) -> ModelDetails:
    services, model = services_of(request), _asked(request)
    force = data is not None and data.force
    await anyio.to_thread.run_sync(partial(services.registry.unload, model, force=force))
    return await _now(services, model)


@post(
    [f"{path}/drain" for path in PATHS],
    status_code=200,
    dto=StrictBody[DrainRequest],
    return_dto=None,
    summary="Give one of the servers that run a model nothing new",
    description="What it has ends. With `draining` false it gets requests again. Until then that holds for as long as "
    "the proxy runs, also for a model that is loaded anew.",
    responses=declared(400, 401, 403, 404, 413),
)
async def drain_upstream(request: Request[Any, Any, Any], data: Annotated[DrainRequest, Body()]) -> UpstreamList:
    services, model = services_of(request), _asked(request)
    services.registry.drain(model, data.url, data.draining)
    return UpstreamList([upstream_activity(each) for each in services.registry.upstreams(model)])


async def _now(services: Services, model: str) -> ModelDetails:
    return await anyio.to_thread.run_sync(_details, services, services.registry.state(model))


def _details(services: Services, state: ModelState) -> ModelDetails:
    shape = {} if state.info is None else dataclasses.asdict(state.info)
    if shape.get("in_words"):  # of whose shape little is known
        shape = {name: value for name, value in shape.items() if value}
    known = {name: value for name, value in shape.items() if name in ModelDetails.__struct_fields__ and name != "id"}
    return ModelDetails(
        id=state.id,
        status=state.status,
        created=state.created,
        on_demand=state.on_demand,
        error=state.error,
        personas=services.available.personas_of(state) if state.info is not None or state.on_demand else None,
        **known,
    )

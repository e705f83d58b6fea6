"""GET /api/models, /api/traits and /api/vectors: what this server has to steer with."""

from typing import Any

import anyio.to_thread
import msgspec
from litestar import Request, get
from litestar.params import FromPath

from proxy.engines.registry import ModelState
from proxy.errors import NotFound
from proxy.protocol.api import (
    ModelDetails,
    ModelDetailsList,
    PoleDetails,
    TraitList,
    TraitSummary,
    VectorDetails,
    VectorList,
)
from proxy.routes.errors import declared
from proxy.services import Services, services_of
from proxy.steering.traits import Trait
from vector_store import VectorHeader


@get("/models", summary="Every model with its state and shape", responses=declared(401, 403))
async def list_model_details(request: Request[Any, Any, Any]) -> ModelDetailsList:
    services = services_of(request)
    states = services.registry.models()
    return ModelDetailsList(await anyio.to_thread.run_sync(lambda: [_model(services, state) for state in states]))


def _model(services: Services, state: ModelState) -> ModelDetails:
    details = ModelDetails(id=state.id, status=state.status, created=state.created, error=state.error)
    if state.engine is None:
        return details
    info = state.engine.info
    shape = {name: getattr(info, name) for name in ModelDetails.__struct_fields__ if hasattr(info, name)}
    return msgspec.structs.replace(details, **shape, personas=services.preparation.personas_of(info))


@get("/traits", summary="The traits, each a pair of personas", responses=declared(401, 403))
async def list_traits(request: Request[Any, Any, Any]) -> TraitList:
    return TraitList(await anyio.to_thread.run_sync(_traits, services_of(request)))


def _traits(services: Services) -> list[TraitSummary]:
    engines = [state.engine for state in services.registry.models() if state.engine is not None]
    personas = {engine.info.id: services.preparation.personas_of(engine.info) for engine in engines}
    return [
        TraitSummary(
            trait.id,
            trait.positive,
            trait.negative,
            trait.description,
            [model for model, names in personas.items() if trait.positive in names],
        )
        for trait in services.traits.values()
    ]


@get("/traits/{trait_id:str}", summary="A trait with its instructions and questions", responses=declared(401, 403, 404))
async def get_trait(request: Request[Any, Any, Any], trait_id: FromPath[str]) -> Trait:
    traits = services_of(request).traits
    if trait_id not in traits:
        raise NotFound(f"There is no trait {trait_id!r}; possible: {', '.join(traits)}", param="trait_id")
    return traits[trait_id]


@get("/vectors", summary="The stored persona vectors, newest first", responses=declared(401, 403))
async def list_vectors(request: Request[Any, Any, Any]) -> VectorList:
    return VectorList(await anyio.to_thread.run_sync(_vectors, services_of(request)))


def _vectors(services: Services) -> list[VectorDetails]:
    engines = [state.engine for state in services.registry.models() if state.engine is not None]
    loaded = {(engine.info.id, engine.info.fingerprint) for engine in engines}
    return [_vector(header, (header.model_id, header.fingerprint) in loaded) for header in services.store.list()]


def _vector(header: VectorHeader, usable: bool) -> VectorDetails:
    poles: dict[str, PoleDetails] = {
        side: PoleDetails(
            choice.block, choice.span, choice.positions, choice.relative_dose, choice.measured_range, choice.score
        )
        for side, choice in header.poles.items()
    }
    return VectorDetails(
        id=header.id,
        model=header.model_id,
        trait=header.trait,
        positive=header.positive,
        negative=header.negative,
        origin=header.origin,
        method=header.method,
        created=header.created,
        fingerprint=header.fingerprint,
        poles=poles,
        usable=usable and bool(poles),
    )

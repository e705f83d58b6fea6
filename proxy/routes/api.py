"""GET /api/traits and /api/vectors: what this server has to steer with."""

from typing import Any

import anyio.to_thread
from litestar import Request, get
from litestar.params import FromPath

from proxy.engines.registry import ModelState
from proxy.errors import NotFound
from proxy.protocol.api import PoleDetails, TraitList, TraitSummary, VectorDetails, VectorList
from proxy.routes.errors import declared
from proxy.services import Services, services_of
from proxy.steering.traits import Trait
from vector_store import VectorHeader


@get("/traits", summary="The traits, each a pair of personas", responses=declared(401, 403))
async def list_traits(request: Request[Any, Any, Any]) -> TraitList:
    return TraitList(await anyio.to_thread.run_sync(_traits, services_of(request)))


def _traits(services: Services) -> list[TraitSummary]:
    personas = {model.id: services.preparation.personas_of(model) for model in services.registry.models()}
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
    models = {model.id: model for model in services.registry.models() if model.status != "failed"}
    return [vector_details(header, models.get(header.model_id)) for header in services.store.list()]


def _usable(header: VectorHeader, model: ModelState | None) -> bool | None:
    if model is None or not header.poles:
        return False
    return None if model.info is None else header.fingerprint == model.info.fingerprint


def vector_details(header: VectorHeader, model: ModelState | None) -> VectorDetails:
    """A stored vector as clients see it; `model` is the served one of its id, None where there is none."""
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
        usable=_usable(header, model),
    )

"""GET /api/traits: the traits this server knows."""

from typing import Any

import anyio.to_thread
from litestar import Request, get
from litestar.params import FromPath

from proxy.errors import NotFound
from proxy.protocol.api import TraitList, TraitSummary
from proxy.routes.errors import declared
from proxy.services import Services, services_of
from proxy.steering.traits import Trait


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

"""/api/traits: the traits there are, and how one's own are made, changed, deleted, and carried from place to place."""

from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body, FromPath

from proxy.errors import InvalidRequest
from proxy.jobs.kinds.trait_writing import TRAIT_WRITING
from proxy.protocol.jobs import JobDetails
from proxy.protocol.traits import (
    ChangedTrait,
    DeletedTrait,
    NewTrait,
    TraitChanges,
    TraitDetails,
    TraitList,
    TraitRequest,
    TraitSummary,
)
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.jobs import answered, model_alone
from proxy.routes.upload import uploaded
from proxy.services import Services, services_of
from proxy.steering.traits.parts import Brief, from_templates
from proxy.steering.traits.trait import Trait
from proxy.traits import add, brief_of, changed_note, check_new, check_unclaimed, deleted_note, file_trait


@get("/traits", summary="The traits, each a pair of personas", responses=declared(401, 403))
async def list_traits(request: Request[Any, Any, Any]) -> TraitList:
    services = services_of(request)

    def found() -> list[TraitSummary]:
        models = _models(services)
        return [TraitSummary(**_summary(services, trait, models)) for trait in services.traits.values()]

    return TraitList(await anyio.to_thread.run_sync(found))


@get(
    "/traits/{trait_id:str}",
    summary="A trait with its instructions and questions",
    responses=declared(401, 403, 404, 503),
)
async def get_trait(request: Request[Any, Any, Any], trait_id: FromPath[str]) -> TraitDetails:
    services = services_of(request)
    return await anyio.to_thread.run_sync(lambda: _details(services, services.own_traits.get(trait_id)))


@post(
    "/traits",
    status_code=200,
    dto=StrictBody[NewTrait],
    return_dto=None,
    summary="Add a trait that was written by hand",
    responses=declared(400, 401, 403, 409, 413, 503),
)
async def create_trait(request: Request[Any, Any, Any], data: Annotated[NewTrait, Body()]) -> TraitDetails:
    services = services_of(request)

    def added() -> TraitDetails:
        trait = Trait(**msgspec.structs.asdict(data))
        _check_unclaimed(services, trait)
        add(trait, services.own_traits, services.store)
        return _details(services, trait)

    return await anyio.to_thread.run_sync(added)


@post(
    "/traits/generate-custom",
    status_code=202,
    dto=StrictBody[TraitRequest],
    return_dto=None,
    summary="Make a trait from two descriptions: a model writes it, or fixed templates",
    description="Starts a job in which a model writes five pairs of instructions, forty questions and a rubric, and "
    "answers at once, or with `wait` when the trait is made. With `template` no model is asked, and the answer is "
    "always the trait; such traits are marked, and weaker. The names are taken from the job's start on. What a model "
    "writes that names the trait, is there twice or is no question is asked for again; where it can't do it, the job "
    "fails and says what came back.",
    responses={
        200: ResponseSpec(TraitDetails, description="With `wait` or `template`: the trait", generate_examples=False),
        202: ResponseSpec(JobDetails, description="The job, also at `Location`", generate_examples=False),
        **declared(400, 401, 403, 404, 409, 413, 500, 503),
    },
)
async def generate_trait(request: Request[Any, Any, Any], data: Annotated[TraitRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    brief = brief_of(data.trait_name, data.positive_trait, data.negative_trait, data.positive, data.negative, data.seed)

    def made() -> TraitDetails:
        trait = from_templates(brief)
        _check_unclaimed(services, brief)
        add(trait, services.own_traits, services.store)
        return _details(services, trait)

    if data.template:
        if data.model is not None:
            raise InvalidRequest("model: with template no model writes the trait; give one of the two", param="model")
        return Response(await anyio.to_thread.run_sync(made), status_code=200)
    model = model_alone(services, data.model)
    await anyio.to_thread.run_sync(check_new, brief, services.own_traits, services.store)
    return await answered(
        request,
        TRAIT_WRITING,
        model,
        brief,
        data.wait,
        lambda result: _details(services, services.own_traits.get(result["trait"])),
        partial(_check_unclaimed, services, brief),
    )


@patch(
    "/traits/{trait_id:str}",
    dto=StrictBody[TraitChanges],
    return_dto=None,
    summary="Change parts of a trait of one's own",
    description="What is absent stays, and so do its names and the comments in its file. Vectors that were made of its "
    "former text stay in use, and the answer says so.",
    responses=declared(400, 401, 403, 404, 409, 413, 503),
)
async def change_trait(
    request: Request[Any, Any, Any], trait_id: FromPath[str], data: Annotated[TraitChanges, Body()]
) -> ChangedTrait:
    services = services_of(request)
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not msgspec.UNSET}
    if not changes:
        possible = ", ".join(TraitChanges.__struct_fields__)
        raise InvalidRequest(f"The body changes nothing; possible: {possible}")

    def changed() -> ChangedTrait:
        trait = services.own_traits.change(trait_id, changes)
        details = msgspec.structs.asdict(_details(services, trait))
        return ChangedTrait(**details, note=changed_note(trait, details["vectors"]))

    return await anyio.to_thread.run_sync(changed)


@delete(
    "/traits/{trait_id:str}",
    status_code=200,
    summary="Delete a trait of one's own",
    description="Its vectors stay, and the answer says so.",
    responses=declared(401, 403, 404, 409, 503),
)
async def delete_trait(request: Request[Any, Any, Any], trait_id: FromPath[str]) -> DeletedTrait:
    services = services_of(request)

    def deleted() -> DeletedTrait:
        trait = services.own_traits.delete(trait_id)
        vectors = _vectors(services, trait)
        return DeletedTrait(deleted=trait.id, vectors=vectors, note=deleted_note(trait, vectors))

    return await anyio.to_thread.run_sync(deleted)


@get(
    "/traits/{trait_id:str}/download",
    media_type="application/octet-stream",
    summary="A trait as a file",
    description="The TOML file itself, comments and all; `/api/traits/import` takes it.",
    responses={
        200: ResponseSpec(
            bytes, description="The file", media_type="application/octet-stream", generate_examples=False
        ),
        **declared(401, 403, 404, 409, 503),
    },
)
async def download_trait(request: Request[Any, Any, Any], trait_id: FromPath[str]) -> Response[bytes]:
    content = await anyio.to_thread.run_sync(services_of(request).own_traits.content, trait_id)
    headers = {"content-disposition": f'attachment; filename="{trait_id}.toml"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


@post(
    "/traits/import",
    status_code=200,
    summary="Add a trait from a file",
    description="The TOML file is the body as it is, or the part `file` of a multipart form. It is kept as it came.",
    responses=declared(400, 401, 403, 409, 413, 429, 503),
)
async def import_trait(request: Request[Any, Any, Any]) -> TraitDetails:
    services = services_of(request)
    async with uploaded(request, services.uploads, "a trait's file") as (content, _):

        def added() -> TraitDetails:
            trait = file_trait(content)
            _check_unclaimed(services, trait)
            add(trait, services.own_traits, services.store, content)
            return _details(services, trait)

        return await anyio.to_thread.run_sync(added)


def _check_unclaimed(services: Services, names: Trait | Brief) -> None:
    """TraitConflict where a job is writing a trait that has one of these names: its work would be lost."""
    for job in services.jobs.going_on():
        if job.kind == TRAIT_WRITING:
            check_unclaimed(names, msgspec.json.decode(job.parameters, type=Brief), job.id)


def _models(services: Services) -> dict[str, list[str]]:
    """Each model's personas."""
    return {model.id: services.available.personas_of(model) for model in services.registry.models()}


def _summary(services: Services, trait: Trait, models: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "id": trait.id,
        "positive": trait.positive,
        "negative": trait.negative,
        "description": trait.description,
        "source": trait.source,
        "source_model": trait.source_model,
        "built_in": services.own_traits.built_in(trait.id),
        "models": [model for model, names in models.items() if trait.positive in names],
    }


def _details(services: Services, trait: Trait) -> TraitDetails:
    return TraitDetails(
        **_summary(services, trait, _models(services)),
        instructions=trait.instructions,
        questions=trait.questions,
        rubric=trait.rubric,
        question_sets=trait.question_sets,
        demonstrations=trait.demonstrations,
        vectors=_vectors(services, trait),
    )


def _vectors(services: Services, trait: Trait) -> list[str]:
    return [header.id for header in services.store.list(None, trait.id)]

"""GET, DELETE, import and download of /api/vectors, and to and from the hub: what `persona-proxy vectors` does.

A path names a model, a trait and perhaps a version. A model's id is one part of the path or, as hub names are, two;
where three parts may mean either, a version that is there counts, then which of the two models is known.
"""

import asyncio
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body, FromQuery

from proxy.engines.base import ModelInfo
from proxy.errors import InvalidRequest
from proxy.protocol.vectors import (
    AnswerCount,
    DeletedVectors,
    FilterDetails,
    Pulled,
    PullRequest,
    Pushed,
    PushRequest,
    UsedVector,
    UseRequest,
    VectorDetails,
    VectorList,
    VectorVersion,
    VectorVersions,
)
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.upload import uploaded
from proxy.services import Services, services_of
from proxy.vectors import chosen, format_of, poles_of, side_of, take, use, versions
from vector_store import SIDES, VectorHeader
from vector_store.choice import Standing
from vector_store.exchange import export_vector, suffix
from vector_store.files import header_of
from vector_store.store import slug

PATHS = [
    "/vectors/{model:str}/{trait:str}",
    "/vectors/{model:str}/{trait:str}/{version:str}",
    "/vectors/{owner:str}/{model:str}/{trait:str}/{version:str}",
]


@get("/vectors", summary="The stored persona vectors, newest first", responses=declared(401, 403, 503))
async def list_vectors(request: Request[Any, Any, Any]) -> VectorList:
    services = services_of(request)

    def found() -> list[VectorDetails]:
        headers, standings = services.store.list(), services.store.standings()
        return [vector_details(services, header, standings.get(header.id)) for header in headers]

    return VectorList(await anyio.to_thread.run_sync(found))


@get(
    PATHS,
    summary="The versions of a trait's vector for a model, newest first, or one of them",
    responses=declared(401, 403, 404, 503),
)
async def get_versions(request: Request[Any, Any, Any]) -> VectorVersions:
    services = services_of(request)

    def found() -> list[VectorVersion]:
        headers = versions(services.store, *meant(request))
        standings = services.store.standings(headers[0].trait)
        return [_version(services, header, standings.get(header.id)) for header in headers]

    return VectorVersions(await anyio.to_thread.run_sync(found))


@delete(
    PATHS,
    status_code=200,
    summary="Delete a version, or all of a trait's for a model",
    description="Those that came with the package stay.",
    responses=declared(401, 403, 404, 409, 503),
)
async def delete_versions(request: Request[Any, Any, Any]) -> DeletedVectors:
    store = services_of(request).store
    return DeletedVectors(list(await anyio.to_thread.run_sync(lambda: store.delete(*meant(request)[:3]))))


@post(
    [f"{path}/use" for path in PATHS[1:]],
    status_code=200,
    dto=StrictBody[UseRequest],
    return_dto=None,
    summary="Put a version to use",
    description="Requests for the weights it was made for are steered by it, under whatever id they are served, until "
    "another version is put to use. Without this the newest is in use that is not rougher than the one before it. "
    "Here a path of three parts always names a model, a trait and a version.",
    responses=declared(400, 401, 403, 404, 413, 503),
)
async def use_version(request: Request[Any, Any, Any], data: Annotated[UseRequest | None, Body()] = None) -> UsedVector:
    services = services_of(request)
    *names, trait, version = request.path_params.values()
    model = "/".join(names)

    def used() -> UsedVector:
        header = versions(services.store, model, trait, version, fingerprint_of(services, model))[0]
        return UsedVector(header.id, use(services.store, header.id))

    return await anyio.to_thread.run_sync(used)


@get(
    [f"{path}/download" for path in PATHS],
    media_type="application/octet-stream",
    summary="A version, or the one in use, as a file",
    description="`format` is `safetensors` (the default, with everything that is known), `gguf` (a llama.cpp control "
    "vector), `paper`, `hotwire` or `prototype`; all but the first hold one pole's direction, the positive one's "
    "unless `pole` says otherwise.",
    responses={
        200: ResponseSpec(
            bytes, description="The file", media_type="application/octet-stream", generate_examples=False
        ),
        **declared(400, 401, 403, 404, 503),
    },
)
async def download_vector(
    request: Request[Any, Any, Any], format: FromQuery[str | None] = None, pole: FromQuery[str | None] = None
) -> Response[bytes]:
    store = services_of(request).store

    def made() -> tuple[str, bytes]:
        vector = chosen(store, *meant(request))
        kind = format_of(format)
        return slug(vector.id) + suffix(kind), export_vector(vector, kind, side_of(vector, pole))

    name, content = await anyio.to_thread.run_sync(made)
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


@post(
    "/vectors/import",
    status_code=200,
    summary="Upload a vector's file",
    description="The file is the body as it is, or the part `file` of a multipart form whose other parts may stand for "
    "the query's. The store's own files need no more; of any other format `model` and `trait` must be named, and what "
    "`format` it is in and which `pole` it leads to where the file does not tell. A file that says it is for another "
    "model's family is taken with `insist=true` alone. Few files are taken in at once; 429 where too many wait.",
    responses=declared(400, 401, 403, 404, 409, 413, 429, 503),
)
async def import_vector(
    request: Request[Any, Any, Any],
    model: FromQuery[str | None] = None,
    trait: FromQuery[str | None] = None,
    format: FromQuery[str | None] = None,
    pole: FromQuery[str | None] = None,
    insist: FromQuery[str | None] = None,
) -> VectorVersion:
    services = services_of(request)
    given = {"model": model, "trait": trait, "format": format, "pole": pole, "insist": insist}
    async with uploaded(request, services.uploads, "a vector's file") as (content, fields):
        asked = {name: fields.get(name) if value is None else value for name, value in given.items()}
        insisted = asked.pop("insist")
        if insisted not in (None, "true", "false"):
            raise InvalidRequest(f"insist: {insisted!r:.40} is not known; possible: true, false", param="insist")

        def saved() -> VectorVersion:
            info = _info(services, asked["model"])
            vector = take(
                content,
                services.store,
                services.traits,
                **asked,
                shape=(info.n_layers, info.hidden_size) if info else None,
                family=info.family if info else None,
                insist=insisted == "true",
            )
            header = header_of(services.store.get(services.store.save(vector)))
            return _version(services, header, services.store.standings(header.trait).get(header.id))

        # Not anyio's: what is raised in its threads is part of a circle that keeps the file until the next collection.
        return await asyncio.to_thread(saved)


@post(
    "/vectors/push",
    status_code=200,
    dto=StrictBody[PushRequest],
    return_dto=None,
    summary="Add vectors to a repository of the Hugging Face hub",
    description="One version, or all of a model or trait, and a card that is written from what they say of themselves.",
    responses=declared(400, 401, 403, 404, 413, 502, 503),
)
async def push_vectors(request: Request[Any, Any, Any], data: Annotated[PushRequest, Body()]) -> Pushed:
    store = services_of(request).store

    def pushed() -> Pushed:
        from proxy.vectors_hub import push  # the hub's library is slow to start, and few need it

        ids = [data.id] if data.id is not None else [header.id for header in store.list(data.model, data.trait)]
        vectors = [store.get(id_) for id_ in ids]
        return Pushed(push(data.repo, vectors, private=data.private), ids)

    return await anyio.to_thread.run_sync(pushed)


@post(
    "/vectors/pull",
    status_code=200,
    dto=StrictBody[PullRequest],
    return_dto=None,
    summary="Get the vectors of a repository of the Hugging Face hub",
    responses=declared(400, 401, 403, 409, 413, 502, 503),
)
async def pull_vectors(request: Request[Any, Any, Any], data: Annotated[PullRequest, Body()]) -> Pulled:
    store = services_of(request).store

    def pulled() -> Pulled:
        from proxy.vectors_hub import pull

        return Pulled(pull(data.repo, store, model=data.model, trait=data.trait))

    return await anyio.to_thread.run_sync(pulled)


def vector_details(services: Services, header: VectorHeader, standing: Standing | None) -> VectorDetails:
    """A stored vector as clients are told of it. Without `standing` it was deleted a moment ago."""
    return VectorDetails(**_details(services, header, standing))


def _version(services: Services, header: VectorHeader, standing: Standing | None) -> VectorVersion:
    return VectorVersion(
        **_details(services, header, standing),
        n_layers=header.n_layers,
        hidden_size=header.hidden_size,
        software_version=header.software_version,
        counts={condition: AnswerCount(count.made, count.kept) for condition, count in header.counts.items()},
        filters=msgspec.convert(header.filters, FilterDetails | None, from_attributes=True),
        separation={span: values for span, values in header.separation.items()},
        agreement={span: values for span, values in header.agreement.items()},
        gains={side: header.likelihood_gains(side) for side in SIDES},
        effects={side: header.effects(side) for side in SIDES},
        sweeps={side: sweep for side, sweep in header.sweeps.items()},
        parent=header.parent,
        transfer=header.transfer,
    )


def _details(services: Services, header: VectorHeader, standing: Standing | None) -> dict[str, Any]:
    return {
        "id": header.id,
        "model": header.model_id,
        "trait": header.trait,
        "positive": header.positive,
        "negative": header.negative,
        "origin": header.origin,
        "method": header.method,
        "created": header.created,
        "fingerprint": header.fingerprint,
        "poles": poles_of(header),
        "judge": header.judge,
        "usable": _usable(services, header),
        "in_use": standing is not None and standing.in_use,
        "note": standing.note if standing else "deleted",
    }


def _usable(services: Services, header: VectorHeader) -> bool | None:
    if not header.poles:
        return False
    models = [model for model in services.registry.models() if model.status != "failed"]
    if any(model.info is not None and model.info.fingerprint == header.fingerprint for model in models):
        return True
    return None if any(model.info is None and model.id == header.model_id for model in models) else False


def fingerprint_of(services: Services, model: str) -> str | None:
    """Of a served model's weights, None where they are not known."""
    info = _info(services, model)
    return None if info is None else info.fingerprint


def _info(services: Services, model: str | None) -> ModelInfo | None:
    """What is known of a served model once it was loaded."""
    return next((state.info for state in services.registry.models() if state.id == model), None)


def meant(request: Request[Any, Any, Any]) -> tuple[str, str, str | None, str | None]:
    """Model, trait, version, None for all of them, and the fingerprint of the model's weights where that is known."""
    services = services_of(request)
    model, trait, version = _named(request, services)
    return model, trait, version, fingerprint_of(services, model)


def _named(request: Request[Any, Any, Any], services: Services) -> tuple[str, str, str | None]:
    first, second, *more = request.path_params.values()
    if not more:
        return first, second, None
    if len(more) == 2:
        return f"{first}/{second}", more[0], more[1]
    hub_name = f"{first}/{second}"
    found = services.store.versions(first, second, fingerprint_of(services, first))

    def known(model: str) -> bool:
        return model in services.model_ids or bool(services.store.list(model))

    if more[0] in {header.id for header in found} or (known(first) and not known(hub_name)):
        return first, second, more[0]
    return hub_name, more[0], None

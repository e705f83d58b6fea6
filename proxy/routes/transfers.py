"""POST /api/transfers, which fits maps between two models as a job, and GET, which lists what was fitted."""

from typing import Annotated, Any

import anyio.to_thread
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body

from proxy.errors import InvalidRequest, NotFound
from proxy.jobs.kinds.transferring import TRANSFERRING, TransferParameters
from proxy.protocol.jobs import JobDetails
from proxy.protocol.transfers import TransferDetails, TransferList, TransferMap, TransferModel, TransferRequest
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.jobs import answered, model_alone
from proxy.services import Services, services_of
from proxy.steering.transfer.files import Side, TransferInfo, transfers


@post(
    "/transfers",
    status_code=202,
    dto=StrictBody[TransferRequest],
    return_dto=None,
    summary="Fit the maps that carry persona vectors from one model to another",
    description="Starts a job and answers at once, or with `wait` when the maps are fitted. The same request again "
    "finds the job that waits or runs already. Both models are loaded for it where they are not.",
    responses={
        200: ResponseSpec(TransferDetails, description="With `wait`: the transfer", generate_examples=False),
        202: ResponseSpec(JobDetails, description="The job, also at `Location`", generate_examples=False),
        **declared(400, 401, 403, 404, 413, 500, 503),
    },
)
async def fit_transfer(request: Request[Any, Any, Any], data: Annotated[TransferRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    source, target = model_alone(services, data.source, "source"), model_alone(services, data.target, "target")
    if source == target:
        raise InvalidRequest(f"target: {target!r} is the source itself; a transfer needs two models", param="target")
    info = services.registry.state(target).info
    if info is not None and data.blocks is not None and max(data.blocks) >= info.n_layers:
        reason = f"{target} has no block {max(data.blocks)}; possible: 0 to {info.n_layers - 1}"
        raise InvalidRequest(f"blocks: {reason}", param="blocks")
    given = {"documents": data.documents, "seed": data.seed}
    parameters = TransferParameters(
        source=source,
        text=data.text,
        blocks=None if data.blocks is None else sorted(set(data.blocks)),
        **{name: value for name, value in given.items() if value is not None},
    )
    return await answered(
        request, TRANSFERRING, target, parameters, data.wait, lambda result: _of(services, result["transfer"])
    )


@get("/transfers", summary="All fitted transfers, newest first", responses=declared(401, 403))
async def list_transfers(request: Request[Any, Any, Any]) -> TransferList:
    services = services_of(request)
    found = await anyio.to_thread.run_sync(lambda: list(transfers(services.settings.transfers_dir)))
    return TransferList([_details(services, info) for info in found])


def _of(services: Services, transfer_id: str) -> TransferDetails:
    for info in transfers(services.settings.transfers_dir):
        if info.id == transfer_id:
            return _details(services, info)
    raise NotFound(f"The transfer {transfer_id!r} was fitted, and removed since.", param="transfer")


def _details(services: Services, info: TransferInfo) -> TransferDetails:
    return TransferDetails(
        id=info.id,
        source=_model(services, info.source),
        target=_model(services, info.target),
        created=info.created,
        text=info.text,
        n_documents=info.n_documents,
        maps=[
            TransferMap(
                map_.span,
                map_.source_block,
                map_.target_block,
                map_.method.words,
                map_.r2,
                map_.r2_shuffled,
                map_.n_pairs,
            )
            for map_ in info.maps
        ],
    )


def _model(services: Services, side: Side) -> TransferModel:
    known = {state.id: state.info for state in services.registry.models()}.get(side.id)
    return TransferModel(side.id, side.fingerprint, None if known is None else known.fingerprint == side.fingerprint)

"""The /api/transfers family: maps between two models are fitted, vectors carried over by them, and what these are worth
measured, each as a job; and what was fitted and measured is listed."""

from collections.abc import Sequence
from typing import Annotated, Any

import anyio.to_thread
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body, FromPath

from proxy.errors import InvalidRequest, NotFound
from proxy.jobs.kinds.transferring import (
    APPLYING,
    EVALUATING,
    TRANSFERRING,
    ApplyParameters,
    EvaluationParameters,
    TransferParameters,
)
from proxy.protocol.jobs import JobDetails
from proxy.protocol.transfers import (
    ApplyRequest,
    EvaluateRequest,
    EvaluationDetails,
    EvaluationList,
    TransferDetails,
    TransferList,
    TransferMap,
    TransferModel,
    TransferRequest,
)
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.jobs import VECTOR_OR_JOB, answered, check_trait, made, model_alone
from proxy.services import Services, services_of
from proxy.steering.transfer.arms import applied
from proxy.steering.transfer.evaluations import kept
from proxy.steering.transfer.figures import Evaluation, misses, missing
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
    given = {"documents": data.documents, "answer_tokens": data.answer_tokens, "seed": data.seed}
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


@post(
    "/transfers/apply",
    status_code=202,
    dto=StrictBody[ApplyRequest],
    return_dto=None,
    summary="Carry a persona vector over to another model, and measure where and how strongly it steers there",
    description="Starts a job of the target, which makes a vector of origin `transferred`, and answers as "
    "`/api/vectors/generate` does. The source model is not loaded.",
    responses=VECTOR_OR_JOB,
)
async def apply_transfer(request: Request[Any, Any, Any], data: Annotated[ApplyRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    target = model_alone(services, data.target, "target")
    await check_trait(services, data.trait)
    services.judges.check(data.judge)
    transfer = await anyio.to_thread.run_sync(_meant, services, data.source, target, data.transfer)
    await anyio.to_thread.run_sync(_check_vectors, services, transfer.source, [data.trait], "trait")
    parameters = ApplyParameters(
        trait=data.trait,
        judge=data.judge,
        source=data.source,
        transfer=data.transfer,
        seed=data.seed or 0,
        budget=data.budget,
    )
    return await made(request, APPLYING, target, parameters, data.wait)


@post(
    "/transfers/evaluate",
    status_code=202,
    dto=StrictBody[EvaluateRequest],
    return_dto=None,
    summary="Measure what carried vectors are worth, beside native ones and controls",
    description="Starts a job of the target, and answers at once, or with `wait` when the figures are there. They are "
    "kept beside the transfer. Each trait needs a vector of the source's own, and one of the target's own or a carried "
    "one that was placed there. The source model is not loaded.",
    responses={
        200: ResponseSpec(EvaluationDetails, description="With `wait`: the figures", generate_examples=False),
        202: ResponseSpec(JobDetails, description="The job, also at `Location`", generate_examples=False),
        **declared(400, 401, 403, 404, 413, 500, 503),
    },
)
async def evaluate_transfer(request: Request[Any, Any, Any], data: Annotated[EvaluateRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    target = model_alone(services, data.target, "target")
    known = await anyio.to_thread.run_sync(lambda: services.traits)
    traits = list(dict.fromkeys(data.traits or [id_ for id_ in known if services.own_traits.built_in(id_)]))
    for id_ in traits:
        await check_trait(services, id_, "traits")
    services.judges.check(data.judge)
    transfer = await anyio.to_thread.run_sync(_meant, services, data.source, target, data.transfer)
    await anyio.to_thread.run_sync(_check_vectors, services, transfer.source, traits, "traits")
    await anyio.to_thread.run_sync(_check_placed, services, transfer, traits)
    given = {"samples": data.samples, "seed": data.seed}
    parameters = EvaluationParameters(
        source=data.source,
        traits=traits,
        transfer=data.transfer,
        budget=data.budget,
        judge=data.judge,
        **{name: value for name, value in given.items() if value is not None},
    )
    return await answered(
        request,
        EVALUATING,
        target,
        parameters,
        data.wait,
        lambda result: _evaluation(services, result["transfer"], result["evaluation"]),
    )


@get(
    "/transfers/{transfer_id:str}/evaluations",
    summary="What a transfer's vectors were measured to be worth, newest first",
    responses=declared(401, 403, 404),
)
async def list_evaluations(request: Request[Any, Any, Any], transfer_id: FromPath[str]) -> EvaluationList:
    folder = services_of(request).settings.transfers_dir

    def found() -> dict[str, Evaluation]:
        if transfer_id not in [info.id for info in transfers(folder)]:
            raise NotFound(f"There is no transfer {transfer_id!r}.", param="transfer_id")
        return kept(folder, transfer_id)

    evaluations = await anyio.to_thread.run_sync(found)
    return EvaluationList([_evaluation_details(id_, each) for id_, each in evaluations.items()])


def _meant(services: Services, source: str, target: str, transfer_id: str | None) -> TransferInfo:
    """The transfer of this id between these models, or the newest. NotFound."""
    for info in transfers(services.settings.transfers_dir):
        if (info.source.id, info.target.id) == (source, target) and transfer_id in (None, info.id):
            return info
    field, what = ("source", "transfer") if transfer_id is None else ("transfer", f"transfer {transfer_id!r}")
    reason = f"there is no {what} from {source!r} to {target!r}; POST /api/transfers fits one"
    raise NotFound(f"{field}: {reason}", param=field)


def _check_vectors(services: Services, model: Side, traits: Sequence[str], field: str, else_: str = "") -> None:
    """NotFound where the model has no vector of its own for one of the traits. `else_`: what helps, too."""
    for trait in traits:
        if services.store.in_use(model.id, trait, model.fingerprint, origin="native") is None:
            reason = f"{model.id} has no vector of its own for {trait}; POST /api/vectors/generate makes one{else_}"
            raise NotFound(f"{field}: {reason}", param=field)


def _check_placed(services: Services, transfer: TransferInfo, traits: Sequence[str]) -> None:
    """NotFound where the target has neither a vector of its own for one of the traits, nor a carried one that was
    placed there."""
    lacking = [trait for trait in traits if applied(services.store, transfer, services.traits[trait]) is None]
    _check_vectors(services, transfer.target, lacking, "traits", ", and POST /api/transfers/apply carries one over")


def _evaluation(services: Services, transfer_id: str, id_: str) -> EvaluationDetails:
    found = kept(services.settings.transfers_dir, transfer_id).get(id_)
    if found is None:
        raise NotFound(f"The evaluation {id_!r} was made, and removed since.", param="transfer")
    return _evaluation_details(id_, found)


def _evaluation_details(id_: str, found: Evaluation) -> EvaluationDetails:
    return EvaluationDetails(id=id_, misses=misses(found), missing=missing(found), figures=found)


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
        target_blocks=info.target_blocks,
        screened={str(span): table for span, table in info.screened.items()},
    )


def _model(services: Services, side: Side) -> TransferModel:
    known = {state.id: state.info for state in services.registry.models()}.get(side.id)
    return TransferModel(side.id, side.fingerprint, None if known is None else known.fingerprint == side.fingerprint)

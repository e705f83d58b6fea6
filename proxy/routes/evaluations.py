"""POST /api/vectors/evaluate and /compare, and what was found: what a vector's poles are worth, and what they cost."""

from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body

from proxy.errors import InvalidRequest
from proxy.jobs.kinds.comparing import COMPARISON, ComparisonParameters
from proxy.jobs.kinds.evaluating import EVALUATION, VectorEvaluationParameters
from proxy.protocol.jobs import CompareRequest, EvaluateVectorRequest, JobDetails
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.jobs import VECTOR_OR_JOB, answered, check_trait, made, model_alone
from proxy.routes.vectors import PATHS, fingerprint_of, meant
from proxy.services import Services, services_of
from proxy.steering.evaluation.manners import MannerComparison
from proxy.steering.evaluation.report import VectorEvaluation, evaluation_of
from proxy.vectors import chosen, evaluated


@post(
    "/vectors/evaluate",
    status_code=202,
    dto=StrictBody[EvaluateVectorRequest],
    return_dto=None,
    summary="Measure what a vector is worth, beside every other way to ask for its poles, and what it costs",
    description="On questions that nothing was chosen on: both poles at coefficients up to 2, random directions, other "
    "traits' directions, the system prompt with and without the vector and with demonstrations, second turns, facts "
    "and instructions. Starts a job that makes a version of the vector with a verdict on each pole, and answers as "
    "`/api/vectors/generate` does.",
    responses=VECTOR_OR_JOB,
)
async def evaluate_vectors(
    request: Request[Any, Any, Any], data: Annotated[EvaluateVectorRequest, Body()]
) -> Response[Any]:
    services = services_of(request)
    model, version = await _measured_vector(services, data)
    for field, judge in (("judge", data.judge), ("second_judge", data.second_judge)):
        services.judges.check(judge, field)
    if data.second_judge is not None and data.second_judge == data.judge:
        raise InvalidRequest("second_judge: it is the first judge too; name another one", param="second_judge")
    given: dict[str, Any] = {"budget": data.budget, "samples": data.samples, "seed": data.seed}
    parameters = VectorEvaluationParameters(
        trait=data.trait,
        judge=data.judge,
        second_judge=data.second_judge,
        version=version,
        **{name: value for name, value in given.items() if value is not None},
    )
    return await made(request, EVALUATION, model, parameters, data.wait)


@post(
    "/vectors/compare",
    status_code=202,
    dto=StrictBody[CompareRequest],
    return_dto=None,
    summary="Compare the manners in which a vector may be put to use",
    description="Its positions, the mean it is counted from, and the modes, everything else alike, on questions that "
    "nothing was chosen on. Changes no vector. Starts a job and answers at once, or with `wait` when all is measured.",
    responses={
        200: ResponseSpec(MannerComparison, description="With `wait`: what was found", generate_examples=False),
        202: ResponseSpec(JobDetails, description="The job, also at `Location`", generate_examples=False),
        **declared(400, 401, 403, 404, 413, 500, 503),
    },
)
async def compare_vectors(request: Request[Any, Any, Any], data: Annotated[CompareRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    model, version = await _measured_vector(services, data)
    services.judges.check(data.judge)
    parameters = ComparisonParameters(
        trait=data.trait,
        judge=data.judge,
        version=version,
        coefficient=data.coefficient,
        budget=data.budget,
        samples=data.samples,
        seed=data.seed,
    )
    return await answered(
        request, COMPARISON, model, parameters, data.wait, lambda result: msgspec.convert(result, MannerComparison)
    )


async def _measured_vector(services: Services, data: EvaluateVectorRequest | CompareRequest) -> tuple[str, str]:
    """The ids of the model and of the vector that a request means. NotFound, InvalidRequest."""
    model = model_alone(services, data.model)
    await check_trait(services, data.trait)
    fingerprint = fingerprint_of(services, model)
    found = await anyio.to_thread.run_sync(chosen, services.store, model, data.trait, data.version, fingerprint)
    if not found.poles:
        raise InvalidRequest(f"version: where to steer was never measured for {found.id!r}", param="version")
    return model, found.id


@get(
    [f"{path}/evaluation" for path in PATHS],
    summary="What a version, or the newest that was evaluated, was found to be worth",
    responses=declared(401, 403, 404, 503),
)
async def get_evaluation(request: Request[Any, Any, Any]) -> VectorEvaluation:
    store = services_of(request).store
    return evaluation_of(await anyio.to_thread.run_sync(lambda: evaluated(store, *meant(request))))

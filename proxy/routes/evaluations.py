"""POST /api/vectors/evaluate, and what was found: what a vector's poles are worth, and what they cost."""

from typing import Annotated, Any

import anyio.to_thread
from litestar import Request, Response, get, post
from litestar.params import Body

from proxy.errors import InvalidRequest
from proxy.jobs.kinds.evaluating import EVALUATION, VectorEvaluationParameters
from proxy.protocol.jobs import EvaluateVectorRequest
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.jobs import VECTOR_OR_JOB, check_trait, made, model_alone
from proxy.routes.vectors import PATHS, fingerprint_of, meant
from proxy.services import services_of
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
    model = model_alone(services, data.model)
    await check_trait(services, data.trait)
    fingerprint = fingerprint_of(services, model)
    found = await anyio.to_thread.run_sync(chosen, services.store, model, data.trait, data.version, fingerprint)
    if not found.poles:
        raise InvalidRequest(f"version: where to steer was never measured for {found.id!r}", param="version")
    for field, judge in (("judge", data.judge), ("second_judge", data.second_judge)):
        services.judges.check(judge, field)
    if data.second_judge is not None and data.second_judge == data.judge:
        raise InvalidRequest("second_judge: it is the first judge too; name another one", param="second_judge")
    given: dict[str, Any] = {"budget": data.budget, "samples": data.samples, "seed": data.seed}
    parameters = VectorEvaluationParameters(
        trait=data.trait,
        judge=data.judge,
        second_judge=data.second_judge,
        version=found.id,
        **{name: value for name, value in given.items() if value is not None},
    )
    return await made(request, EVALUATION, model, parameters, data.wait)


@get(
    [f"{path}/evaluation" for path in PATHS],
    summary="What a version, or the newest that was evaluated, was found to be worth",
    responses=declared(401, 403, 404, 503),
)
async def get_evaluation(request: Request[Any, Any, Any]) -> VectorEvaluation:
    store = services_of(request).store
    return evaluation_of(await anyio.to_thread.run_sync(lambda: evaluated(store, *meant(request))))

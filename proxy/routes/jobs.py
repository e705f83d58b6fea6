"""POST /api/vectors/generate and /measure, and /api/jobs: work that takes minutes, started, watched, and cancelled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, get_args

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body, FromPath, FromQuery, Parameter
from litestar.types import ASGIApp
from sse_starlette.sse import EventSourceResponse

from proxy.chat.in_words import WHY
from proxy.errors import InvalidRequest, JobFailed, JobsUnavailable, ModelNotFound, NotFound, SetupError
from proxy.jobs.kinds.extraction import EXTRACTION, ExtractionParameters
from proxy.jobs.kinds.measuring import MEASURING, MeasuringParameters
from proxy.jobs.kinds.vectors import Parameters
from proxy.jobs.store import Job
from proxy.protocol.jobs import GenerateRequest, JobDetails, JobList, JobPoint, JobProgress, JobStatus, MeasureRequest
from proxy.protocol.vectors import VectorDetails
from proxy.routes import observe
from proxy.routes.answering import PING_INTERVAL_S, unless_gone
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.vectors import fingerprint_of, vector_details
from proxy.services import Services, services_of
from proxy.steering import making
from proxy.steering.budget import THOROUGH
from proxy.steering.traits.trait import no_trait
from proxy.vectors import versions

VECTOR_OR_JOB = {
    200: ResponseSpec(VectorDetails, description="With `wait`: the vector", generate_examples=False),
    202: ResponseSpec(JobDetails, description="The job, also at `Location`", generate_examples=False),
    **declared(400, 401, 403, 404, 413, 500, 503),
}


@post(
    "/vectors/generate",
    status_code=202,
    dto=StrictBody[GenerateRequest],
    return_dto=None,
    summary="Make a persona vector from a model's own answers",
    description="Starts a job and answers at once, or with `wait` when the vector is made. The same request again "
    "finds the job that waits or runs already. A client that goes away does not end the job.",
    responses=VECTOR_OR_JOB,
)
async def generate_vector(request: Request[Any, Any, Any], data: Annotated[GenerateRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    name = _one_of(data.trait, data.trait_id, "trait")
    if name is None:
        raise InvalidRequest("trait: it is required; possible: text", param="trait")
    await check_trait(services, name)
    model = model_alone(services, _one_of(data.model, data.model_id, "model"))
    numbers = {"rollouts": data.rollouts, "questions": data.questions, "seed": data.seed}
    try:
        making.check_numbers(data.budget, data.rollouts, data.questions)
    except SetupError as error:
        raise InvalidRequest(error.message, param=error.message.partition(":")[0]) from None
    services.judges.check(data.judge)
    given = {key: value for key, value in numbers.items() if value is not None}
    parameters = ExtractionParameters(trait=name, judge=data.judge, budget=data.budget or THOROUGH, **given)
    return await made(request, EXTRACTION, model, parameters, data.wait)


@post(
    "/vectors/measure",
    status_code=202,
    dto=StrictBody[MeasureRequest],
    return_dto=None,
    summary="Measure where and how strongly an imported vector steers its model",
    description="What was imported can't be used before. Starts a job that makes a measured version of the vector, and "
    "answers as `generate` does.",
    responses=VECTOR_OR_JOB,
)
async def measure_vector(request: Request[Any, Any, Any], data: Annotated[MeasureRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    model = model_alone(services, data.model)
    await check_trait(services, data.trait)
    fingerprint = fingerprint_of(services, model)
    found = await anyio.to_thread.run_sync(versions, services.store, model, data.trait, data.version, fingerprint)
    if found[0].origin != "imported":
        reason = "was not imported: it was measured where it was made"
        raise InvalidRequest(f"version: {found[0].id!r} {reason}", param="version")
    services.judges.check(data.judge)
    parameters = MeasuringParameters(found[0].id, data.seed or 0, trait=data.trait, judge=data.judge)
    return await made(request, MEASURING, model, parameters, data.wait)


async def made(
    request: Request[Any, Any, Any], kind: str, model: str, parameters: Parameters, wait: bool
) -> Response[Any]:
    """The job that makes a vector, or with `wait` the vector."""
    services = services_of(request)
    return await answered(
        request,
        kind,
        model,
        parameters,
        wait,
        lambda result: _vector(services, model, parameters.trait, result["vector"]),
    )


async def answered(
    request: Request[Any, Any, Any],
    kind: str,
    model: str,
    parameters: msgspec.Struct,
    wait: bool,
    shown: Callable[[dict[str, Any]], Any],
    check: Callable[[], None] = lambda: None,
) -> Response[Any]:
    """A new job as it begins, or with `wait` what `shown`, which may block, makes of its result. `check` is what the
    queue asks before it adds one."""
    services = services_of(request)
    job = await services.jobs.submit(kind, model, parameters, check)
    observe.record_of(request.scope).facts |= {"model": model, "job": job.id}
    if not wait:
        return Response(_details(job), status_code=202, headers={"location": f"/api/jobs/{job.id}"})
    result = await unless_gone(request, _result(services, job.id))
    return Response(await anyio.to_thread.run_sync(shown, result), status_code=200)


def model_alone(services: Services, name: str | None, field: str = "model") -> str:
    """The id of the model that `field` names. ModelNotFound, InvalidRequest for one with a persona, and for one that
    runs on another server: jobs read its tokens and residuals."""
    try:
        model, suffix = services.asked_model(name)
    except ModelNotFound as error:
        raise ModelNotFound(error.message, param=field) from None
    if suffix.persona is not None:
        raise InvalidRequest(f"{field}: name the model alone, without a persona", param=field)
    settings = {each.id: each for each in services.settings.models}.get(model)
    if settings is not None and settings.engine == "upstream":
        raise InvalidRequest(f"{field}: {WHY}; possible: a model that runs here", param=field)
    return model


async def check_trait(services: Services, name: str, field: str = "trait") -> None:
    """NotFound where there is no such trait. Their files are looked at in a thread."""
    traits = await asyncio.to_thread(lambda: services.traits)
    if name not in traits:
        raise NotFound(f"{field}: {no_trait(name, traits)}", param=field)


def _one_of(value: str | None, other: str | None, field: str) -> str | None:
    """A field that has two names."""
    if value is not None and other is not None and value != other:
        raise InvalidRequest(f"{field}: it is {value!r}, and {field}_id is {other!r}; give one of them", param=field)
    return other if value is None else value


async def _result(services: Services, job_id: str) -> dict[str, Any]:
    """What a job makes, as soon as it is done."""
    async for job in services.jobs.watch(job_id):
        last = job
    if last.status == "failed":
        raise JobFailed(f"The job {job_id} failed: {last.error}")
    if last.status == "cancelled":
        raise JobFailed(f"The job {job_id} was cancelled.", code="job_cancelled")
    if last.result is None:
        raise JobsUnavailable(f"The server is shutting down; the job {job_id} goes on when it is back.")
    return last.result


def _vector(services: Services, model: str, trait: str, vector_id: str) -> VectorDetails:
    for header in services.store.versions(model, trait, fingerprint_of(services, model)):
        if header.id == vector_id:
            return vector_details(services, header, services.store.standings(trait).get(vector_id))
    raise NotFound(f"The vector {vector_id!r} was made, and removed since.", param="vector")


@get("/jobs", summary="All jobs, newest first", responses=declared(400, 401, 403, 503))
async def list_jobs(
    request: Request[Any, Any, Any],
    status: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
    limit: FromQuery[Annotated[int, Parameter(ge=1, le=1000, description="How many at most")]] = 100,
    after: FromQuery[str | None] = None,
) -> JobList:
    try:
        wanted = msgspec.convert(status, JobStatus | None)
    except msgspec.ValidationError:
        possible = ", ".join(get_args(JobStatus))
        raise InvalidRequest(f"status: {status!r} is not one; possible: {possible}", param="status") from None
    jobs, has_more = await services_of(request).jobs.find(wanted, model, limit=limit, after=after)
    return JobList([_details(job) for job in jobs], has_more=has_more)


@get("/jobs/{job_id:str}", summary="A job, how far it is, and what came of it", responses=declared(401, 403, 404, 503))
async def get_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> JobDetails:
    job = await services_of(request).jobs.get(job_id)
    return _details(job, job.points)


@delete(
    "/jobs/{job_id:str}",
    status_code=200,
    summary="Cancel a job",
    description="One that waits or runs counts as cancelled at once, and its work stops within one small step. One "
    "that has ended stays as it is, in the history too. What a cancelled job had done is kept for a week, so the same "
    "request goes on from there.",
    responses=declared(401, 403, 404, 503),
)
async def cancel_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> JobDetails:
    return _details(await services_of(request).jobs.cancel(job_id))


@get(
    "/jobs/{job_id:str}/events",
    summary="A job's progress as it comes",
    description="A text/event-stream of JobDetails: first the job as it is, then every change, a few a second at most. "
    "Each of a curve's `points` comes once, so that the first event has those that are there already. It ends when the "
    "job has ended.",
    responses={
        200: ResponseSpec(JobDetails, description="One of the stream's events", generate_examples=False),
        **declared(401, 403, 404, 503),
    },
)
async def watch_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    jobs = services_of(request).jobs
    await jobs.get(job_id)

    async def frames() -> AsyncIterator[bytes]:
        told = 0
        async for job in jobs.watch(job_id):
            yield b"data: " + msgspec.json.encode(_details(job, job.points[told:])) + b"\n\n"
            told = max(told, len(job.points))

    return EventSourceResponse(frames(), sep="\n", ping=PING_INTERVAL_S)  # type: ignore[return-value]


def _details(job: Job, points: Sequence[JobPoint] = ()) -> JobDetails:
    return JobDetails(
        id=job.id,
        kind=job.kind,
        model=job.model,
        parameters=msgspec.json.decode(job.parameters),
        status=job.status,
        created=job.created,
        started=job.started,
        ended=job.ended,
        progress=JobProgress(job.doing, job.fraction, job.left_s),
        error=job.error,
        result=job.result,
        points=list(points),
    )

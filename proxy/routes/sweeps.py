"""POST /api/steering/sweep, and the curves it measures: as JSON, and as a picture."""

from typing import Annotated, Any

import anyio.to_thread
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body

from proxy.errors import InvalidRequest
from proxy.jobs.kinds.sweeping import SWEEPING, SweepParameters
from proxy.protocol.jobs import SweepRequest
from proxy.protocol.vectors import VectorCurve
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.jobs import VECTOR_OR_JOB, check_trait, made, model_alone
from proxy.routes.vectors import PATHS, fingerprint_of, meant
from proxy.services import services_of
from proxy.steering.sweep.svg import curve_svg
from proxy.vectors import chosen, curve_of, swept
from vector_store import VectorHeader


@post(
    "/steering/sweep",
    status_code=202,
    dto=StrictBody[SweepRequest],
    return_dto=None,
    summary="Measure a vector over a range of coefficients, and set what coefficient 1 is",
    description="Trait, coherence, facts and unfinished answers at every coefficient, beside no steering, random "
    "directions, other traits' directions and the system prompt. Starts a job that makes a measured version of the "
    "vector, and answers as `/api/vectors/generate` does.",
    responses=VECTOR_OR_JOB,
)
async def sweep_vector(request: Request[Any, Any, Any], data: Annotated[SweepRequest, Body()]) -> Response[Any]:
    services = services_of(request)
    model = model_alone(services, data.model)
    await check_trait(services, data.trait)
    fingerprint = fingerprint_of(services, model)
    found = await anyio.to_thread.run_sync(chosen, services.store, model, data.trait, data.version, fingerprint)
    if data.coefficients is not None and not any(data.coefficients):
        raise InvalidRequest("coefficients: at least one must not be 0", param="coefficients")
    services.judges.check(data.judge)
    given: dict[str, Any] = {"coefficients": data.coefficients, "samples": data.samples, "seed": data.seed}
    parameters = SweepParameters(
        trait=data.trait,
        judge=data.judge,
        version=found.id,
        keep_strength=data.keep_strength,
        **{name: value for name, value in given.items() if value is not None},
    )
    for side in parameters.options.sides:
        if side not in found.poles:
            reason = f"where to steer {found.pole(side)!r} was never measured for {found.id!r}"
            raise InvalidRequest(f"version: {reason}", param="version")
    return await made(request, SWEEPING, model, parameters, data.wait)


@get(
    [f"{path}/curve" for path in PATHS],
    summary="The measured curve of a version, or of the newest that was swept",
    responses=declared(401, 403, 404, 503),
)
async def get_curve(request: Request[Any, Any, Any]) -> VectorCurve:
    return curve_of(await _swept(request))


@get(
    [f"{path}/curve.svg" for path in PATHS],
    media_type="image/svg+xml",
    summary="The measured curve of a version, or of the newest that was swept, as a picture",
    responses={
        200: ResponseSpec(str, description="The picture", media_type="image/svg+xml", generate_examples=False),
        **declared(401, 403, 404, 503),
    },
)
async def get_curve_picture(request: Request[Any, Any, Any]) -> Response[str]:
    return Response(curve_svg(await _swept(request)), media_type="image/svg+xml")


async def _swept(request: Request[Any, Any, Any]) -> VectorHeader:
    return await anyio.to_thread.run_sync(lambda: swept(services_of(request).store, *meant(request)))

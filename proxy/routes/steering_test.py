"""POST /api/steering/test: one prompt unsteered and at several coefficients, made side by side in one batch."""

import secrets
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Request, post
from litestar.params import Body
from msgspec import UNSET

from proxy.chat.conversation import to_messages
from proxy.chat.personas import DEFAULT_COEFFICIENT, PersonaSource, resolve
from proxy.chat.prepare import Prepared
from proxy.chat.stream import GrowingChoice, reported, usage
from proxy.engines.base import Engine, Message
from proxy.errors import InvalidRequest
from proxy.protocol.api import SteeringTestRequest, SteeringTestResult, TestedAnswer
from proxy.protocol.steering import SteeringOptions
from proxy.routes import observe
from proxy.routes.answering import collect, unless_gone
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.services import Services, services_of

# Small enough for every client to read exactly: JavaScript's whole numbers end at 2**53.
DRAWN_SEEDS = 2**31


@post(
    "/steering/test",
    status_code=200,
    dto=StrictBody[SteeringTestRequest],
    return_dto=None,
    summary="The same prompt, unsteered and steered",
    responses=declared(400, 401, 403, 404, 413, 429, 500, 503),
)
async def try_steering(
    request: Request[Any, Any, Any], data: Annotated[SteeringTestRequest, Body()]
) -> SteeringTestResult:
    services = services_of(request)
    messages, strengths = _messages(data), _coefficients(data)
    model, suffix = services.asked_model(data.model)
    if suffix.persona is not None:
        raise InvalidRequest("model: name the persona in the field persona, not in the model", param="model")
    held = data.steering is not None and data.steering.mode != "add"
    unsteered = resolve([PersonaSource(data.persona, 0.0)], services.poles)
    steered = [resolve([PersonaSource(data.persona, each)], services.poles, keep_zeros=held) for each in strengths]
    personas = [unsteered, *steered]
    strengths_text = ",".join(f"{strength:g}" for strength in strengths)
    observe.record_of(request.scope).facts |= {"model": model, "persona": data.persona, "coefficient": strengths_text}
    admission = services.scheduler.admit(model, len(personas), "coefficients")
    try:
        engine = await unless_gone(request, services.engine(admission))
        work = partial(_prepare_all, services, engine, data, messages, personas)
        prepared = await unless_gone(request, anyio.to_thread.run_sync(work, abandon_on_cancel=True))
        seed = secrets.randbelow(DRAWN_SEEDS) if data.seed is None else data.seed
        traced = data.steering is not None and data.steering.trace
        answers = [GrowingChoice(readings=item.readings(traced=traced)) for item in prepared]
        for item in prepared:
            admission.start(engine, item.generation(seed % 2**63))
        await unless_gone(request, collect(admission, answers))
    finally:
        admission.close()
    observe.record_of(request.scope).facts["tokens"] = sum(answer.tokens for answer in answers)
    tested = [
        _tested(strength, item, answer)
        for strength, item, answer in zip((0.0, *strengths), prepared, answers, strict=True)
    ]
    return SteeringTestResult(model=model, persona=data.persona, seed=seed, unsteered=tested[0], steered=tested[1:])


def _messages(data: SteeringTestRequest) -> list[Message]:
    if (data.prompt is None) == (data.messages is None):
        raise InvalidRequest("prompt: give either prompt or messages", param="prompt")
    return [{"role": "user", "content": data.prompt}] if data.messages is None else to_messages(data.messages)


def _coefficients(data: SteeringTestRequest) -> list[float]:
    if data.coefficient is not None and data.coefficients is not None:
        raise InvalidRequest("coefficients: give either coefficient or coefficients", param="coefficients")
    if data.coefficients is not None:
        return data.coefficients
    return [DEFAULT_COEFFICIENT if data.coefficient is None else data.coefficient]


def _prepare_all(
    services: Services,
    engine: Engine,
    data: SteeringTestRequest,
    messages: list[Message],
    personas: list[dict[str, float]],
) -> list[Prepared]:
    options = data.steering or SteeringOptions()
    sampling = {} if data.temperature is None else {"temperature": data.temperature}
    prepare = partial(services.preparation.prepare, engine, messages, max_tokens=data.max_tokens, sampling=sampling)
    untraced = msgspec.structs.replace(options, trace=False)
    return [prepare(chosen, options if chosen else untraced) for chosen in personas]


def _tested(coefficient: float, prepared: Prepared, answer: GrowingChoice) -> TestedAnswer:
    assert answer.finish_reason is not None
    return TestedAnswer(
        coefficient=coefficient,
        content=answer.content,
        reasoning=answer.reasoning or UNSET,
        finish_reason=answer.finish_reason,
        usage=usage(len(prepared.prompt), [answer]),
        steering=reported(prepared.report, [answer]),
    )

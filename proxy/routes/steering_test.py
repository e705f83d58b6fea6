"""POST /api/steering/test: one prompt unsteered and at several coefficients, made side by side in one batch."""

import secrets
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import Body
from msgspec import UNSET

from proxy.chat.conversation import to_messages
from proxy.chat.personas import DEFAULT_COEFFICIENT, PersonaSource, projected, resolve
from proxy.chat.prepare import Asked, Prepared
from proxy.chat.stream import GrowingChoice, reported, usage
from proxy.engines.base import Message
from proxy.errors import InvalidRequest
from proxy.protocol.api import SteeringTestRequest, SteeringTestResult, TestedAnswer
from proxy.protocol.steering import SteeringOptions
from proxy.routes import observe
from proxy.routes.answering import unless_gone
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.services import services_of
from proxy.steering.sampling import AskedSampling
from proxy.steering.traits.trait import Poles

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
    asked = _all_asked(data, messages, strengths, await services.poles())
    record, strengths_text = observe.record_of(request.scope), ",".join(f"{strength:g}" for strength in strengths)
    record.facts |= {"model": model, "persona": data.persona, "coefficient": strengths_text}
    with services.turns.admit(model, len(asked), "coefficients") as turn:
        engine = await unless_gone(request, turn.engine())
        prepared = await unless_gone(request, turn.prepare(engine, asked))
        record.facts["method"] = prepared[-1].report.method
        seed = secrets.randbelow(DRAWN_SEEDS) if data.seed is None else data.seed
        for item in prepared:
            turn.start(engine, item, seed)
        await unless_gone(request, turn.collect())
    record.facts["tokens"] = turn.tokens
    tested = [
        _tested(strength, item, answer)
        for strength, item, answer in zip((0.0, *strengths), prepared, turn.choices, strict=True)
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


def _all_asked(
    data: SteeringTestRequest, messages: list[Message], strengths: Sequence[float], poles: Poles
) -> list[Asked]:
    """The unsteered answer, then one for each strength. InvalidRequest and PersonaNotFound."""
    options = data.steering or SteeringOptions()
    untraced = msgspec.structs.replace(options, trace=False)
    unsteered = resolve([PersonaSource(data.persona, 0.0)], poles)
    held = options.mode != "add"
    steered = [resolve([PersonaSource(data.persona, each)], poles, keep_zeros=held) for each in strengths]
    return [
        Asked(
            messages=messages,
            personas=personas,
            steering=options if personas else untraced,
            projected=projected(options.projection, poles),
            sampling=AskedSampling(data.temperature),
            max_tokens=data.max_tokens,
        )
        for personas in (unsteered, *steered)
    ]


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

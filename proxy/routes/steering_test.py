"""POST /api/steering/test: one prompt unsteered and at several coefficients, made side by side in one batch and,
where that is asked for, told while they are made."""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from proxy.chat.conversation import to_messages
from proxy.chat.personas import DEFAULT_COEFFICIENT, PersonaSource, projected, resolve
from proxy.chat.prepare import Asked
from proxy.chat.side_by_side import SideBySide, Tried
from proxy.engines.base import Message, Together
from proxy.errors import InvalidRequest
from proxy.protocol.api import SteeringTestRequest, SteeringTestResult
from proxy.protocol.steering import SteeringOptions
from proxy.routes import observe
from proxy.routes.answering import StreamedAnswer, admit, unless_gone
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
    description="With `stream` the answers come while they are made, as a text/event-stream: a steering.test, then "
    "steering.test.chunk events of all answers as they come, then [DONE].",
    responses={
        200: ResponseSpec(SteeringTestResult, description="The answers, or their stream", generate_examples=False),
        **declared(400, 401, 403, 404, 413, 429, 500, 502, 503, 504),
    },
)
async def try_steering(request: Request[Any, Any, Any], data: Annotated[SteeringTestRequest, Body()]) -> ASGIApp:
    services = services_of(request)
    messages, strengths = _messages(data), _coefficients(data)
    model, suffix = services.asked_model(data.model)
    if suffix.persona is not None:
        raise InvalidRequest("model: name the persona in the field persona, not in the model", param="model")
    asked = _all_asked(data, messages, strengths, await services.poles())
    record, strengths_text = observe.record_of(request.scope), ",".join(f"{strength:g}" for strength in strengths)
    record.facts |= {"model": model, "persona": data.persona, "coefficient": strengths_text}
    with ExitStack() as until_handed_on:
        turn = until_handed_on.enter_context(admit(request, model, len(asked), "coefficients"))
        engine = await unless_gone(request, turn.engine())
        prepared = await unless_gone(request, turn.prepare(engine, asked))
        record.facts["method"] = prepared[-1].report.method
        seed = secrets.randbelow(DRAWN_SEEDS) if data.seed is None else data.seed
        together = Together(len(prepared), len(prepared))
        tried = [
            Tried(strength, len(item.prompt), item.report, turn.start(engine, item, seed, together=together))
            for strength, item in zip((0.0, *strengths), prepared, strict=True)
        ]
        answers = SideBySide(model, data.persona, seed, tried)
        if data.stream:
            await unless_gone(request, turn.accepted())
            until_handed_on.pop_all()
            return StreamedAnswer(turn, answers, noted=False)
        await unless_gone(request, turn.collect())
    record.facts["tokens"] = turn.tokens
    return ASGIResponse(body=msgspec.json.encode(answers.result()), media_type="application/json")


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

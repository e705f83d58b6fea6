"""POST /v1/chat/completions."""

import dataclasses
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from proxy.chat.conversation import to_messages, to_tools
from proxy.chat.logprobs import Speller
from proxy.chat.output import asked_output, check_schema, speller
from proxy.chat.personas import PersonaSource, parse, parse_coefficient, resolve
from proxy.chat.prepare import Prepared
from proxy.chat.scheduler import Admission
from proxy.chat.stream import ChunkSequence, GrowingChoice, Head, completion
from proxy.engines.base import Engine, Sampling
from proxy.errors import InvalidRequest
from proxy.protocol.chat import ChatCompletion, ChatRequest
from proxy.protocol.steering import SteeringOptions
from proxy.routes import observe
from proxy.routes.answering import StreamedAnswer, collect, unless_gone
from proxy.routes.auth import matching, presented_key
from proxy.routes.body import StrictBody
from proxy.routes.errors import declared
from proxy.routes.monitor import note
from proxy.services import Services, services_of

SEEDS = 2**63


@post(
    "/chat/completions",
    status_code=200,
    dto=StrictBody[ChatRequest],
    return_dto=None,
    summary="Chat, in character",
    description="OpenAI's chat completion. With `stream` the answer is a text/event-stream of chat.completion.chunk.",
    responses={
        200: ResponseSpec(ChatCompletion, description="The answer, or its stream", generate_examples=False),
        **declared(400, 401, 404, 413, 429, 500, 503),
    },
)
async def create_chat_completion(request: Request[Any, Any, Any], data: Annotated[ChatRequest, Body()]) -> ASGIApp:
    services = services_of(request)
    refuse_unsupported(data)
    model, suffix = services.asked_model(data.model)
    options = data.steering or SteeringOptions()
    places = [*_places(request, data), suffix, *_default_places(request, services)]
    personas = resolve(places, services.poles, keep_zeros=options.mode != "add")
    observe.record_of(request.scope).facts |= {"model": model, **log_facts(personas)}
    admission = services.scheduler.admit(model, data.n or 1)
    try:
        engine = await unless_gone(request, services.engine(admission))
        prepared, spell = await unless_gone(request, _prepare(services, engine, data, personas, options))
        answers = _start(admission, engine, data, prepared)
        head = _head(engine, prepared, spell)
        if data.stream:
            include_usage = bool(data.stream_options and data.stream_options.include_usage)
            sequence = ChunkSequence(head, answers, include_usage=include_usage)
            return StreamedAnswer(admission, sequence, answers, partial(note, services, model, prepared, answers))
        await unless_gone(request, collect(admission, answers))
    except BaseException:
        admission.close()
        raise
    admission.close()
    note(services, model, prepared, answers)
    observe.record_of(request.scope).facts["tokens"] = sum(answer.tokens for answer in answers)
    return ASGIResponse(body=msgspec.json.encode(completion(head, answers)), media_type="application/json")


def _places(request: Request[Any, Any, Any], data: ChatRequest) -> list[PersonaSource]:
    """What the request itself says of personas, first to last."""
    header = request.headers.get("x-persona-coefficient")
    in_metadata = (data.metadata or {}).get("persona")
    if not isinstance(in_metadata, str | None):
        raise InvalidRequest("metadata.persona: must be text, a persona's name", param="metadata.persona")
    return [
        PersonaSource(data.persona, data.coefficient),
        PersonaSource(
            request.headers.get("x-persona"),
            None if header is None else parse_coefficient(header, "X-Persona-Coefficient"),
            persona_field="X-Persona",
            coefficient_field="X-Persona-Coefficient",
        ),
        PersonaSource(in_metadata, persona_field="metadata.persona"),
    ]


def _default_places(request: Request[Any, Any, Any], services: Services) -> list[PersonaSource]:
    """What the operator set for requests that say nothing."""
    settings = services.settings
    key = matching(presented_key(request), settings.key_personas)
    by_key = settings.key_personas[key] if key is not None else None
    return [parse(text, "persona") for text in (by_key, settings.default_persona) if text is not None]


async def _prepare(
    services: Services, engine: Engine, data: ChatRequest, personas: dict[str, float], options: SteeringOptions
) -> tuple[Prepared, Speller | None]:
    """All that takes time and may be refused; the speller is there where log-probabilities are asked for."""
    prepare = partial(
        services.preparation.prepare,
        engine,
        to_messages(data.messages),
        personas,
        options,
        max_tokens=data.max_completion_tokens or data.max_tokens,
        max_tokens_field="max_completion_tokens" if data.max_completion_tokens else "max_tokens",
        sampling=_sampling(data),
        reasoning_effort=data.reasoning_effort,
        tools=to_tools(data.tools or []) if _calls_wanted(data) else [],
    )

    def work() -> tuple[Prepared, Speller | None]:
        prepared = prepare()
        check_schema(engine, prepared.sampling)
        return prepared, speller(engine) if data.logprobs else None

    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


def _start(admission: Admission, engine: Engine, data: ChatRequest, prepared: Prepared) -> list[GrowingChoice]:
    stops = [data.stop] if isinstance(data.stop, str) else data.stop or []
    answers = []
    for index in range(data.n or 1):
        # Choices of one seeded request differ from one another and are the same next time.
        seed = None if data.seed is None else (data.seed + index) % SEEDS
        admission.start(engine, prepared.generation(seed))
        readings = prepared.readings(traced=bool(data.steering and data.steering.trace))
        answers.append(GrowingChoice(stops, tools=_calls_wanted(data), readings=readings))
    return answers


def _calls_wanted(data: ChatRequest) -> bool:
    return bool(data.tools) and data.tool_choice != "none"


def _sampling(data: ChatRequest) -> dict[str, Any]:
    """What the request says of Sampling's fields."""
    apart = ("max_tokens", "seed", "json_schema", "top_logprobs")
    names = [field.name for field in dataclasses.fields(Sampling) if field.name not in apart]
    given = {name: value for name in names if (value := getattr(data, name)) is not None}
    if "top_k" in given:
        given["top_k"] = max(given["top_k"], 0)
    return given | asked_output(data, _calls_wanted(data))


def _head(engine: Engine, prepared: Prepared, spell: Speller | None) -> Head:
    return Head(
        id=f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=engine.info.id,
        system_fingerprint=f"fp_{engine.info.fingerprint[:12]}",
        prompt_tokens=len(prepared.prompt),
        steering=prepared.report,
        spell=spell,
    )


def log_facts(personas: dict[str, float]) -> dict[str, str]:
    """Personas and coefficients for the request's log line."""
    if not personas:
        return {"persona": "none"}
    return {"persona": ",".join(personas), "coefficient": ",".join(f"{value:g}" for value in personas.values())}


def _is_set(value: Any) -> bool:
    return bool(value)


# Field, when it would change the answer, and what is possible instead.
UNSUPPORTED: list[tuple[str, Callable[[Any], bool], str]] = [
    ("functions", _is_set, "no functions"),
    ("tool_choice", lambda value: value not in (None, "none", "auto"), '"none" or "auto"'),
    ("function_call", lambda value: value not in (None, "none", "auto"), '"none" or "auto"'),
    ("modalities", lambda value: value not in (None, [], ["text"]), '["text"]'),
    ("audio", _is_set, "no audio"),
]


def refuse_unsupported(data: ChatRequest) -> None:
    """InvalidRequest for a field whose meaning this server knows but can't give."""
    if data.steering is not None and data.steering.trace and (data.n or 1) > 1:
        raise InvalidRequest("steering.trace follows one answer; n must be 1 with it", param="steering.trace")
    for name, asked, possible in UNSUPPORTED:
        if asked(getattr(data, name)):
            raise InvalidRequest(f"{name} is not supported; possible: {possible}", param=name)

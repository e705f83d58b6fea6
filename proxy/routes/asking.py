"""What a request to an endpoint of OpenAI's asks for: its model, its personas in all their places, and what the log and
the headers tell of them.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from litestar import Request

from proxy.chat.calling import asked_calls
from proxy.chat.conversation import Begun, split_begun, template_options, to_messages
from proxy.chat.output import asked_sampling, place_of_schema
from proxy.chat.personas import (
    PersonaSource,
    Wanted,
    coefficients,
    manner_of,
    parse,
    parse_coefficient,
    projected,
    resolve,
)
from proxy.chat.prepare import Asked, Prepared
from proxy.chat.stream import Head
from proxy.chat.told_schema import told_schema
from proxy.engines.base import Engine
from proxy.errors import InvalidRequest, PersonaNotFound
from proxy.protocol.chat import ChatRequest, RequestMetadata
from proxy.protocol.steering import SteeringOptions, SteeringReport
from proxy.routes import observe
from proxy.routes.auth import matching, presented_key
from proxy.services import Services, services_of
from proxy.steering.traits.trait import Poles, Trait
from vector_store import Side

# The personas that are steered to, and the poles whose projections are asked for.
Named = tuple[Sequence[Wanted], Sequence[tuple[Trait, Side]] | None]


class InCharacter(Protocol):
    """What requests to several endpoints say of their model and its personas."""

    @property
    def model(self) -> str | None: ...
    @property
    def persona(self) -> str | dict[str, float] | None: ...
    @property
    def coefficient(self) -> float | None: ...
    @property
    def steering(self) -> SteeringOptions | None: ...
    @property
    def metadata(self) -> RequestMetadata | None: ...


async def asked_of(request: Request[Any, Any, Any], data: ChatRequest) -> tuple[str, Asked]:
    """The model's id, and what is asked of it; the request's log line tells both. InvalidRequest, ModelNotFound and
    PersonaNotFound."""
    _refuse_together(data)
    model, steered = await steered_of(request, data)
    return model, _asked(data, steered)


async def steered_of(request: Request[Any, Any, Any], data: InCharacter) -> tuple[str, Asked]:
    """The model's id, and what is asked of it as far as that is personas and steering; the request's log line tells
    both. ModelNotFound, InvalidRequest and PersonaNotFound."""
    services = services_of(request)
    model, suffix = services.asked_model(data.model)
    poles = await services.poles()
    places = [*_places(request, data), suffix, *_default_places(request, services)]
    options = data.steering or SteeringOptions()
    personas, poles_to_read = await _named(services, model, places, options, poles)
    observe.record_of(request.scope).facts |= {"model": model, **_log_facts(personas)}
    return model, Asked(personas=personas, steering=options, projected=poles_to_read)


async def _named(
    services: Services, model: str, places: Sequence[PersonaSource], options: SteeringOptions, poles: Poles
) -> Named:
    """The personas that the places come to, and the poles to project on. What is wrong is told with the personas that
    this model can show, which are looked for only then."""

    def resolved(offered: Sequence[str] | None = None) -> Named:
        held, manner = options.mode != "add", manner_of(options)
        personas = resolve(places, poles, keep_zeros=held, manner=manner, offered=offered)
        return personas, projected(options.projection, poles, offered)

    try:
        return resolved()
    except (InvalidRequest, PersonaNotFound):
        everything = options.method == "prompt"
        offered = (
            []
            if everything
            else await asyncio.to_thread(services.available.personas_of, services.registry.state(model))
        )
        return resolved(offered or None)


def head_of(prefix: str, engine: Engine, prepared: Prepared) -> Head:
    """An answer's head; its id begins with `prefix`."""
    return Head(
        id=f"{prefix}{secrets.token_hex(12)}",
        created=int(time.time()),
        model=engine.info.id,
        system_fingerprint=_fingerprint(engine, prepared.report),
        prompt_tokens=len(prepared.prompt),
        steering=prepared.report,
        spell=prepared.spell,
    )


def answer_facts(report: SteeringReport) -> dict[str, str | int]:
    """What was done, for the request's log line and the headers of its answer."""
    facts: dict[str, str | int] = {"method": report.method}
    return facts if report.max_tokens is None else {**facts, "max_tokens": report.max_tokens}


def _asked(data: ChatRequest, steered: Asked) -> Asked:
    """What else the chat asks for. InvalidRequest."""
    messages, begun = split_begun(data.messages) if data.continue_final_message else (data.messages, Begun())
    return replace(
        steered,
        messages=to_messages(messages),
        begun=begun,
        sampling=asked_sampling(data),
        max_tokens=data.max_completion_tokens or data.max_tokens,
        schema_field=place_of_schema(data.response_format)[0],
        told_schema=told_schema(data),
        template_options=template_options(data.reasoning_effort, data.chat_template_kwargs or {}),
        calling=asked_calls(data),
    )


def _places(request: Request[Any, Any, Any], data: InCharacter) -> list[PersonaSource]:
    """What the request itself says of personas, first to last."""
    header = request.headers.get("x-persona-coefficient")
    in_metadata = None if data.metadata is None else data.metadata.persona
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


def _fingerprint(engine: Engine, report: SteeringReport) -> str:
    """Of the weights and of the vectors that take part."""
    parts = [engine.info.fingerprint, *sorted(vector.id for vector in report.vectors)]
    return f"fp_{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _log_facts(personas: Sequence[Wanted]) -> dict[str, str]:
    """Personas and coefficients for the request's log line."""
    if not personas:
        return {"persona": "none"}
    by_name = coefficients(personas)
    return {"persona": ",".join(by_name), "coefficient": ",".join(f"{value:g}" for value in by_name.values())}


def _refuse_together(data: ChatRequest) -> None:
    """InvalidRequest for fields that don't go together."""
    if data.steering is not None and data.steering.trace and (data.n or 1) > 1:
        raise InvalidRequest("steering.trace follows one answer; n must be 1 with it", param="steering.trace")
    if data.add_generation_prompt is not None and data.add_generation_prompt == bool(data.continue_final_message):
        possible = "false with continue_final_message, true without"
        raise InvalidRequest(f"add_generation_prompt: possible: {possible}", param="add_generation_prompt")

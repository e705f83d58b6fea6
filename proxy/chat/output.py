"""What a request asks of its answer besides personas: how tokens are drawn, a schema to follow, log-probabilities.

Knows nothing of HTTP, personas or models.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from proxy.chat.logprobs import Speller
from proxy.chat.schemas import closed
from proxy.engines.base import CallRules, Engine, Sampling
from proxy.engines.errors import Refusal
from proxy.errors import InvalidRequest
from proxy.protocol.chat import ChatRequest, ResponseFormat
from proxy.steering.sampling import AskedSampling

_ANY = {"json_object": '{"type": "object"}', "json_schema": "{}"}  # where the schema says nothing


class Drawing(Protocol):
    """What requests to several endpoints say of how tokens are drawn."""

    @property
    def temperature(self) -> float | None: ...
    @property
    def top_p(self) -> float | None: ...
    @property
    def top_k(self) -> int | None: ...
    @property
    def min_p(self) -> float | None: ...
    @property
    def frequency_penalty(self) -> float | None: ...
    @property
    def presence_penalty(self) -> float | None: ...
    @property
    def repetition_penalty(self) -> float | None: ...
    @property
    def logit_bias(self) -> Mapping[int, float] | None: ...


def asked_sampling(data: ChatRequest) -> AskedSampling:
    """What the request says of how its answer's tokens are drawn. InvalidRequest for what does not go together."""
    return replace(drawing(data), json_schema=_asked_schema(data), top_logprobs=_asked_logprobs(data))


def drawing(data: Drawing) -> AskedSampling:
    """How the request wants tokens to be drawn."""
    return AskedSampling(
        temperature=data.temperature,
        top_p=data.top_p,
        top_k=max(data.top_k or 0, 0),
        min_p=data.min_p or 0.0,
        frequency_penalty=data.frequency_penalty or 0.0,
        presence_penalty=data.presence_penalty or 0.0,
        repetition_penalty=1.0 if data.repetition_penalty is None else data.repetition_penalty,
        logit_bias=data.logit_bias or {},
    )


def _asked_logprobs(data: ChatRequest) -> int | None:
    if data.logprobs:
        return data.top_logprobs or 0
    if data.top_logprobs:
        raise InvalidRequest("top_logprobs: logprobs must be true with it; possible: 0", param="top_logprobs")
    return None


def _asked_schema(data: ChatRequest) -> str | None:
    if data.response_format is None or data.response_format.type == "text":
        return None
    _, schema = place_of_schema(data.response_format)
    return msgspec.json.encode(closed(schema)).decode() if schema else _ANY[data.response_format.type]


def place_of_schema(wanted: ResponseFormat | None) -> tuple[str, dict[str, Any] | None]:
    """The field that has a request's schema, and the schema. InvalidRequest for one in a place where it would not
    count, and for none where there must be one."""
    field, beside = "response_format.json_schema", "response_format.schema"
    if wanted is None:
        return field, None
    if wanted.type != "json_schema" and wanted.json_schema is not None:
        raise InvalidRequest(f"{field}: the type is {wanted.type}; possible: the type json_schema", param=field)
    if wanted.schema is not None and (wanted.type == "text" or wanted.json_schema is not None):
        possible = "the type json_object" if wanted.json_schema is None else "one of json_schema and schema"
        raise InvalidRequest(f"{beside}: it does not count here; possible: {possible}", param=beside)
    if wanted.json_schema is not None:
        return f"{field}.schema", wanted.json_schema.schema
    if wanted.type == "json_schema" and wanted.schema is None:
        raise InvalidRequest(f"{field}: it is required; possible: an object with name, schema", param=field)
    return beside, wanted.schema


def check_schema(engine: Engine, sampling: Sampling, field: str, calls: CallRules | None) -> None:
    """InvalidRequest for a request's schema, in `field`, that the engine can't keep an answer to. Blocks for up to a
    second. Refusal for functions that it can't keep calls to."""
    if sampling.json_schema is None and calls is None:
        return
    try:
        engine.check_schema(sampling.json_schema, calls)
    except Refusal as error:
        if error.part == "calls":
            raise
        raise InvalidRequest(f"{field}: {error.message}", param=field) from error


def speller(engine: Engine, *, marked: bool = False) -> Speller:
    """Tells the bytes that a token adds to a text; `marked`: a special one its own text. InvalidRequest where
    log-probabilities can't be told of."""
    try:
        return engine.speller(marked=marked)
    except Refusal as error:
        none = "null" if marked else "false"
        raise InvalidRequest(f"logprobs: {error.message}; possible: {none}", param="logprobs") from error

"""What a request asks of its answer beyond the text: JSON that follows a schema, and log-probabilities.

Knows nothing of HTTP, personas or models.
"""

from typing import Any

import msgspec

from proxy.chat.logprobs import Speller
from proxy.chat.refusals import SCHEMA_FIELD
from proxy.engines.base import Engine, Sampling
from proxy.engines.errors import Refusal
from proxy.errors import InvalidRequest
from proxy.protocol.chat import ChatRequest, ResponseFormat

_ANY_OBJECT = '{"type": "object"}'


def asked_output(data: ChatRequest, with_tools: bool) -> dict[str, Any]:
    """Sampling's fields for it. InvalidRequest for what does not go together."""
    asked: dict[str, Any] = {}
    if data.logprobs:
        asked["top_logprobs"] = data.top_logprobs or 0
    elif data.top_logprobs:
        raise InvalidRequest("top_logprobs: logprobs must be true with it; possible: 0", param="top_logprobs")
    if data.response_format is not None and data.response_format.type != "text":
        if with_tools:
            # A call of a function follows no schema of the answer's, and an answer kept to one can't call any.
            raise InvalidRequest(
                f"response_format: {data.response_format.type} does not go with tools; possible: text, or no tools",
                param="response_format",
            )
        asked["json_schema"] = _schema(data.response_format)
    return asked


def _schema(wanted: ResponseFormat) -> str:
    if wanted.type == "json_object":
        return _ANY_OBJECT
    if wanted.json_schema is None:
        field = "response_format.json_schema"
        raise InvalidRequest(f"{field}: it is required; possible: an object with name, schema", param=field)
    return msgspec.json.encode(wanted.json_schema.schema).decode()


def check_schema(engine: Engine, sampling: Sampling) -> None:
    """InvalidRequest for a request's schema that the engine can't keep an answer to. Blocks, see Engine."""
    if sampling.json_schema is None:
        return
    try:
        engine.check_schema(sampling.json_schema)
    except Refusal as error:
        raise InvalidRequest(f"{SCHEMA_FIELD}: {error.message}", param=SCHEMA_FIELD) from error


def speller(engine: Engine) -> Speller:
    """See Engine.speller. InvalidRequest where log-probabilities can't be told of."""
    try:
        return engine.speller()
    except Refusal as error:
        raise InvalidRequest(f"logprobs: {error.message}; possible: false", param="logprobs") from error

"""Holds what servers of the tests answer to OpenAI's published schema, as the types of its Python package have it.

Those are generated from the schema, but their clients do not validate. Here every whole answer, every chunk and event
of a stream and every error is, strictly: no required field is missing, every value is of its type and among those that
are possible, and nothing is there that OpenAI lacks, but for what the manual lists. `watched` looks at all that an app
answers; what it finds waits in `FAULTS`, which a fixture of all tests looks into.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from pydantic import BaseModel, TypeAdapter, ValidationError

FAULTS: list[str] = []
MANUAL = Path(__file__).parents[2] / "docs" / "guide" / "openai-fields.md"
SECTION = "## What answers have beyond OpenAI's"
CLIENT_GONE = 499  # nobody reads what is answered then
SHOWN = 5  # of the faults of one value; a union names one for each of its members
# Required by the document, and null where they do not apply: the types can't tell that from optional.
NULL_BUT_THERE = {
    "openai.types.chat.chat_completion": {"Choice": {"logprobs"}},
    "openai.types.chat.chat_completion_message": {"ChatCompletionMessage": {"content", "refusal"}},
    "openai.types.chat.chat_completion_chunk": {"Choice": {"finish_reason"}, "ChoiceLogprobs": {"content", "refusal"}},
    "openai.types.chat.chat_completion_token_logprob": {"ChatCompletionTokenLogprob": {"bytes"}},
    "openai.types.completion_choice": {"CompletionChoice": {"logprobs"}},
    "openai.types.responses.response": {
        "Response": {"error", "incomplete_details", "instructions", "metadata", "temperature", "top_p"}
    },
    "openai.types.responses.response_error_event": {"ResponseErrorEvent": {"code", "param"}},
    "openai.types.shared.error_object": {"ErrorObject": {"code", "param"}},
}


@cache
def extensions() -> dict[str, set[str]]:
    """The fields that the manual lists as ours, by OpenAI's type that has them."""
    section = MANUAL.read_text("utf-8").split(f"{SECTION}\n", 1)[1].split("\n## ", 1)[0]
    found: dict[str, set[str]] = {}
    for names, types in re.findall(r"^\| (`.+?) \| (`.+?) \|", section, re.M):
        for type_ in re.findall(r"`(\w+)`", types):
            found.setdefault(type_, set()).update(re.findall(r"`(\w+)`", names))
    return found


def faults(path: str, status: int, body: Any) -> list[str]:
    """What of a JSON answer is not as published; nothing of a path that OpenAI has not, but for its errors."""
    if status == CLIENT_GONE:
        return []
    if status >= 400:
        return _error_faults(body, alone=path != "/ready")  # which tells of its models too
    match path.removeprefix("/v1").split("/"):
        case ["", "chat", "completions"]:
            return _faults("chat.ChatCompletion", body)
        case ["", "completions"]:
            return _text_faults(body, chunk=False)
        case ["", "responses"]:
            return _faults("responses.Response", body)
        case ["", "models"]:
            return _list_faults(body)
        case ["", "models", *_]:
            return _faults("Model", body)
    return []


def stream_faults(path: str, text: str) -> list[str]:
    """What of the whole frames of a stream is not as published."""
    found: list[str] = []
    for frame in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":"))
        if "data" not in fields or fields["data"] == "[DONE]":
            continue
        body = json.loads(fields["data"])
        match path.removeprefix("/v1"):
            case "/responses":
                if fields.get("event") != body.get("type"):
                    found.append(f"the frame is called {fields.get('event')}, its event {body.get('type')}")
                found += _event_faults(body)
            case "/chat/completions" | "/completions" if "error" in body:
                found += _error_faults(body, alone=True)
            case "/chat/completions":
                found += _faults("chat.ChatCompletionChunk", body)
            case "/completions":
                found += _text_faults(body, chunk=True)
    return found


def watched(app: ASGIApp) -> ASGIApp:
    """The app, with what is wrong with its answers in `FAULTS`."""

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] == "HEAD":
            await app(scope, receive, send)
            return
        answer = _Answer(scope["path"])

        async def seen(message: Message) -> None:
            answer.add(message)
            await send(message)

        try:
            await app(scope, receive, seen)
        finally:
            FAULTS.extend(f"{scope['method']} {answer.path} {answer.status}: {fault}" for fault in answer.faults())

    return watching


class _Answer:
    """One answer as it goes out."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.status = 0
        self._kind = b""
        self._body = bytearray()
        self._whole = False

    def add(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._kind = dict(message["headers"]).get(b"content-type", b"")
        elif message["type"] == "http.response.body":
            self._body += message["body"]
            self._whole = not message["more_body"]

    def faults(self) -> list[str]:
        """Of a stream that was left, those of what came before."""
        try:
            return self._found()
        except ValueError as error:
            return [f"it can't be read: {error}"]

    def _found(self) -> list[str]:
        if self._kind.startswith(b"text/event-stream"):
            return stream_faults(self.path, self._body.decode())
        if self._kind.startswith(b"application/json") and self._whole and self._body:
            return faults(self.path, self.status, json.loads(self._body))
        return []


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    """Of one of OpenAI's types; imported late, since few tests need it and it takes long."""
    import openai.types.chat
    import openai.types.responses
    import openai.types.shared

    type_: Any = openai.types
    for part in name.split("."):
        type_ = getattr(type_, part)
    return TypeAdapter(type_)


@cache
def _event_types() -> dict[str, str]:
    """By an event's `type`, the name of its class."""
    import openai.types.responses as published

    union = get_args(published.ResponseStreamEvent)[0]
    return {
        type_: each.__name__ for each in get_args(union) for type_ in get_args(each.model_fields["type"].annotation)
    }


def _faults(name: str, body: Any) -> list[str]:
    try:
        value = _adapter(name).validate_python(body, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[:SHOWN]
        return [f"{name}.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong]
    return [f"{name}: {fault}" for fault in _beyond(value)]


def _beyond(value: Any) -> Iterator[str]:
    """Fields that are in no schema, and those that are missing though they may only be null."""
    if isinstance(value, list):
        for each in value:
            yield from _beyond(each)
    elif isinstance(value, BaseModel):
        kind = type(value)
        known = extensions().get(kind.__name__, set())
        yield from (f"{kind.__name__} has {name}" for name in (value.model_extra or {}) if name not in known)
        needed = NULL_BUT_THERE.get(kind.__module__, {}).get(kind.__name__, set())
        yield from (f"{kind.__name__} has no {name}" for name in sorted(needed - value.model_fields_set))
        for name in kind.model_fields:
            yield from _beyond(getattr(value, name))


def _error_faults(body: Any, *, alone: bool) -> list[str]:
    if not isinstance(body, dict) or "error" not in body:
        return [f"no error object: {body}"]
    beside = [f"beside the error stands {name}" for name in body if alone and name != "error"]
    return _faults("shared.ErrorObject", body["error"]) + beside


def _list_faults(body: Any) -> list[str]:
    if set(body) != {"object", "data"} or body["object"] != "list":
        return [f"no list of models: {body}"]
    return [fault for model in body["data"] for fault in _faults("Model", model)]


def _event_faults(body: Any) -> list[str]:
    name = _event_types().get(body.get("type"))
    return [f"no such event: {body.get('type')}"] if name is None else _faults(f"responses.{name}", body)


def _text_faults(body: Any, *, chunk: bool) -> list[str]:
    """OpenAI has one type for an answer and for its chunks, and its own server sends null where that has none: as the
    reason in a chunk before the last, and of an echoed prompt's first token."""
    for choice in body.get("choices", ()):
        if chunk and choice.get("finish_reason", "") is None:
            choice["finish_reason"] = "stop"
        told = choice.get("logprobs") or {}
        if told.get("token_logprobs", [0])[:1] == told.get("top_logprobs", [0])[:1] == [None]:
            told["token_logprobs"][0], told["top_logprobs"][0] = 0.0, {}
    return _faults("Completion", body)

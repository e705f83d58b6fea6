"""What engines raise in their own terms reaches clients with the field it is about, and with the right status."""

import inspect
from typing import Any

import pytest

from proxy.chat.refusals import client_error
from proxy.engines import errors
from proxy.engines.errors import (
    EngineClosed,
    EngineError,
    MemoryFull,
    ModelFailed,
    PromptTooLarge,
    PromptTooLong,
    Refusal,
)
from proxy.errors import NotFound


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (Refusal("it is odd"), 400, "invalid_request", None),
        (Refusal("it is odd", "prompt"), 400, "invalid_request", "messages"),
        (Refusal("it is odd", "logit_bias"), 400, "invalid_request", "logit_bias"),
        (Refusal("it is odd", "channels"), 400, "invalid_request", "steering.channels"),
        (Refusal("it is odd", "json_schema"), 400, "invalid_request", "response_format"),
        (PromptTooLong("it is odd"), 400, "context_length_exceeded", "messages"),
        (PromptTooLarge("it is odd"), 400, "out_of_memory", "messages"),
        (MemoryFull("it is odd"), 503, "out_of_memory", None),
        (EngineClosed("it is odd"), 503, "model_unavailable", None),
        (ModelFailed("it is odd"), 500, "engine_failure", None),
    ],
)
def test_an_engines_error_then_the_client_is_told_what_it_is_about(
    error: EngineError, status: int, code: str, param: str | None
) -> None:
    told = client_error(error)
    assert (told.status, told.code, told.param) == (status, code, param)
    assert told.message.endswith("it is odd") or "; possible: final" in told.message
    assert param is None or "." not in param or told.message.startswith(f"{param}: ")


def test_every_kind_of_engine_error_then_something_is_told_of_it() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, EngineError)]
    assert len(kinds) == 13
    for kind in kinds:
        more: dict[str, Any] = {"retry_after_s": 1} if "retry_after_s" in inspect.signature(kind).parameters else {}
        assert client_error(kind("it is odd", **more)).message.endswith("it is odd"), kind


def test_an_unforeseen_error_then_its_details_stay_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = client_error(RuntimeError("secret"))
    assert told.code == "engine_failure" and "secret" not in told.message and "secret" in caplog.text


def test_an_error_of_ours_then_it_is_told_as_it_is() -> None:
    error = NotFound("nothing")
    assert client_error(error) is error

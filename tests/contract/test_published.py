"""What holds answers to OpenAI's schema finds what is not in it, on a real server too."""

import copy
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar, post

from tests.contract import published
from tests.fakes import running

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "fake",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi.", "refusal": None, "reasoning": "Hm."},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "steering": {},
}
ERROR: dict[str, Any] = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "no"}}


def changed(change: Callable[[Any], object]) -> dict[str, Any]:
    body = copy.deepcopy(CHAT)
    change(body)
    return body


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda body: body.pop("created"), "ChatCompletion.created"),
        (lambda body: body.update(object="chat"), "ChatCompletion.object"),
        (lambda body: body.update(created="1"), "ChatCompletion.created"),
        (lambda body: body["usage"].update(total_tokens=2.0), "usage.total_tokens"),
        (lambda body: body["choices"][0].update(finish_reason="end"), "choices.0.finish_reason"),
        (lambda body: body["choices"][0].pop("logprobs"), "Choice has no logprobs"),
        (lambda body: body["choices"][0]["message"].pop("refusal"), "ChatCompletionMessage has no refusal"),
        (lambda body: body["choices"][0]["message"].update(thought="Hm."), "ChatCompletionMessage has thought"),
        (lambda body: body["usage"].update(steering={}), "CompletionUsage has steering"),
    ],
)
def test_answer_when_not_as_published_then_the_field_is_named(change: Callable[[Any], object], named: str) -> None:
    assert published.faults("/v1/chat/completions", 200, CHAT) == []
    [fault] = published.faults("/chat/completions", 200, changed(change))
    assert named in fault


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (400, {"detail": "no"}, "no error object"),
        (503, {**ERROR, "retry": 1}, "beside the error stands retry"),
        (404, {"error": {**ERROR["error"], "code": 404}}, "ErrorObject.code"),
        (404, {"error": {"message": "No.", "type": "x", "code": "no"}}, "ErrorObject has no param"),
    ],
)
def test_error_when_not_as_published_then_so_on_every_path(status: int, body: Any, named: str) -> None:
    assert published.faults("/api/jobs", status, ERROR) == []
    [fault] = published.faults("/api/jobs", status, body)
    assert named in fault


@pytest.mark.parametrize(
    ("path", "frame", "named"),
    [
        ("/v1/chat/completions", 'data: {"id": "1"}', "ChatCompletionChunk.choices"),
        ("/v1/chat/completions", 'data: {"error": "no"}', "ErrorObject"),
        ("/v1/completions", 'data: {"id": "1", "choices": []}', "Completion.created"),
        ("/v1/responses", 'event: a\ndata: {"type": "b"}', "the frame is called a"),
        ("/v1/responses", 'event: b\ndata: {"type": "b"}', "no such event: b"),
        ("/v1/responses", 'event: error\ndata: {"type": "error"}', "ResponseErrorEvent.message"),
    ],
)
def test_stream_when_a_frame_is_not_as_published_then_named(path: str, frame: str, named: str) -> None:
    assert any(named in fault for fault in published.stream_faults(path, f": ping\n\n{frame}\n\ndata: [DONE]\n\n"))
    assert published.stream_faults(path, ": ping\n\ndata: [DONE]\n\n" + frame) == []  # it was cut off


def test_fields_of_ours_then_those_that_the_manual_lists() -> None:
    assert "steering" in published.extensions()["Response"] and "reasoning" in published.extensions()["ChoiceDelta"]


def test_server_of_a_test_when_it_answers_otherwise_then_it_is_found() -> None:
    @post("/v1/responses", status_code=200)
    async def wrong() -> dict[str, str]:
        return {"id": "resp_1"}

    with running(Litestar([wrong])) as url:
        httpx.post(f"{url}/v1/responses")
    found, published.FAULTS[:] = list(published.FAULTS), []
    assert found and all(fault.startswith("POST /v1/responses 200: responses.Response") for fault in found)

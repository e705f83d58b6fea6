"""Streams on a real connection: their bytes, what ends them, and that a client that leaves frees its place."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving, wait_until

URL = "/v1/chat/completions"


def body(said: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": said}], "stream": True, **fields}


def stream(client: httpx.Client, said: str = "hello", **fields: Any) -> list[Any]:
    """Every event of a stream, decoded, the last as it is."""
    response = client.post(URL, json=body(said, **fields))
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, last, empty = response.text.split("\n\n")
    assert (last, empty) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_stream_then_deltas_are_the_whole_answer_and_the_finish_carries_the_report(client: httpx.Client) -> None:
    whole = client.post(URL, json=body(persona="silly", stream=False)).json()
    first, *middle, last = stream(client, persona="silly")
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle)
    assert text == whole["choices"][0]["message"]["content"] == "[+1.00] You said: hello "
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}
    assert last["steering"] == whole["steering"]
    assert {chunk["object"] for chunk in [first, *middle, last]} == {"chat.completion.chunk"}


def test_stream_when_logprobs_are_asked_for_then_chunks_with_content_have_those_of_the_whole(
    client: httpx.Client,
) -> None:
    wanted = {"logprobs": True, "top_logprobs": 1}
    whole = client.post(URL, json=body("!think", stream=False, **wanted)).json()["choices"][0]["logprobs"]
    entries = []
    for chunk in stream(client, "!think", **wanted):
        choice = chunk["choices"][0]
        assert (choice["logprobs"] is not None) == bool(choice["delta"].get("content"))
        entries += (choice["logprobs"] or {"content": []})["content"]
    assert entries == whole["content"] and len(entries) == 3


def test_stream_when_usage_is_asked_for_then_it_comes_last(client: httpx.Client) -> None:
    last = stream(client, stream_options={"include_usage": True})[-1]
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 9


def test_stream_when_several_choices_then_each_is_whole(client: httpx.Client) -> None:
    texts = ["", ""]
    for chunk in stream(client, n=2):
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == ["You said: hello ", "You said: hello "]


def test_stream_of_calls_then_each_has_id_and_name_once_and_its_arguments_in_pieces(client: httpx.Client) -> None:
    tools = [{"type": "function", "function": {"name": "find"}}]
    chunks = stream(client, "!tool", tools=tools)
    pieces = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [sorted(piece) for piece in pieces] == [
        ["function", "id", "index", "type"],
        ["function", "index"],
        ["function", "index"],
        ["function", "id", "index", "type"],
    ]
    assert [(piece["index"], piece["function"]) for piece in pieces] == [
        (0, {"name": "find", "arguments": ""}),
        (0, {"arguments": '{"word": '}),
        (0, {"arguments": '"é"}'}),
        (1, {"name": "look", "arguments": "{}"}),
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_stream_when_the_model_fails_then_an_error_frame_and_done(client: httpx.Client) -> None:
    *_, last = stream(client, "!fail")
    assert last["error"]["code"] == "engine_failure" and "secret" not in json.dumps(last)


@pytest.fixture
def slow() -> FakeEngine:
    return FakeEngine(token_s=0.01, context_length=100_000)


@pytest.fixture
def url(settings: Settings, slow: FakeEngine) -> Iterator[str]:
    small = msgspec.structs.replace(settings, max_batch=1, max_queue=1)
    save_vector(settings.vectors_dir, "silly", "silly", "serious")
    with serving(small, slow) as url:
        yield url


def free(url: str) -> bool:
    """Whether both places of the small server are free."""
    response = httpx.post(url + URL, json=body(stream=False, n=2, max_tokens=1))
    assert response.status_code in (200, 429)
    return response.status_code == 200


def test_disconnect_while_streaming_then_the_run_is_cancelled_and_the_place_free(url: str, slow: FakeEngine) -> None:
    with httpx.stream("POST", url + URL, json=body("!forever", persona="silly")) as response:
        bytes_ = response.iter_bytes()
        next(bytes_)
        wait_until(lambda: bool(slow.running))
    wait_until(lambda: not slow.running)
    wait_until(lambda: free(url))


@pytest.mark.parametrize(
    ("said", "path"),
    [("!forever", URL), ("!slow", URL), ("!forever", "/api/steering/test"), ("!forever", "/v1/responses")],
)
def test_disconnect_while_waiting_for_a_whole_answer_then_the_place_is_free(
    url: str, slow: FakeEngine, said: str, path: str
) -> None:
    request = body(said, max_tokens=50_000, persona="silly")
    request.pop("stream", None)
    if path == "/v1/responses":
        request = {"input": said, "max_output_tokens": 50_000}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + path, json=request, timeout=0.3)
    wait_until(lambda: not slow.running)
    wait_until(lambda: free(url))


def test_log_line_when_the_client_left_before_a_whole_answer_then_it_says_how_many_tokens_were_made(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "proxy.requests"):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url + URL, json=body("!forever", stream=False, max_tokens=50_000), timeout=0.5)
        wait_until(lambda: any(" 499 " in line for line in caplog.messages))
    (line,) = [line for line in caplog.messages if " 499 " in line]
    assert re.search(r" tokens=[1-9]\d* ended=early", line)


def test_queue_when_full_then_429_with_retry_after_and_health_still_answers(url: str, slow: FakeEngine) -> None:
    with httpx.stream("POST", url + URL, json=body("!forever", n=2)) as response:
        bytes_ = response.iter_bytes()
        next(bytes_)
        refused = httpx.post(url + URL, json=body())
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["code"] == "queue_full"
        assert httpx.get(url + "/health").json() == {"status": "ok"}
    wait_until(lambda: not slow.running)


def test_more_choices_than_places_then_400_not_429(url: str) -> None:
    refused = httpx.post(url + URL, json=body(n=3))
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "n"


def test_rendering_when_slow_then_the_server_still_answers(url: str) -> None:
    asking = threading.Thread(target=lambda: httpx.post(url + URL, json=body("!slow")))
    asking.start()
    assert httpx.get(url + "/health").status_code == 200
    assert asking.is_alive()
    asking.join()


def test_stream_when_the_server_shuts_down_then_told_ended_and_cancelled(settings: Settings) -> None:
    slow = FakeEngine(token_s=0.01, context_length=100_000)
    with httpx.Client() as client:
        with serving(settings, slow) as url:
            request = client.build_request("POST", url + URL, json=body("!forever"))
            lines = client.send(request, stream=True).iter_lines()
            next(lines)
            wait_until(lambda: bool(slow.running))
            run = slow.running[0]
        data = [line for line in lines if line.startswith("data: ")]
    assert data[-1] == "data: [DONE]" and "shutting down" in data[-2]
    assert run.cancelled.is_set()

"""POST /v1/responses as a plain HTTP client sees it, its shapes held to those of OpenAI's own types."""

import json
from typing import Any

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy.chat.unsupported import UNSUPPORTED, UNSUPPORTED_IN_RESPONSES
from tests.fakes import FakeEngine

URL = "/v1/responses"
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FIND = {"type": "function", "name": "find", "description": "Finds.", "parameters": {"type": "object"}, "strict": False}


def ask(client: httpx.Client, input: Any = "hello", *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    response = client.post(URL, json={"model": "fake", "input": input, **fields}, headers=headers)
    assert response.status_code == 200, response.text
    Response.model_validate(response.json(), strict=True)
    return response.json()


def refused(client: httpx.Client, **fields: Any) -> Any:
    response = client.post(URL, json={"model": "fake", "input": "hello", **fields})
    assert 400 <= response.status_code < 500, response.text
    return {"status": response.status_code, **response.json()["error"]}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def stream(client: httpx.Client, input: Any = "hello", **fields: Any) -> list[Any]:
    """Every event of a stream, decoded."""
    response = client.post(URL, json={"model": "fake", "input": input, "stream": True, **fields})
    assert response.headers["content-type"].startswith("text/event-stream")
    *frames, empty = response.text.split("\n\n")
    assert empty == ""
    events = []
    for number, frame in enumerate(frames):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert (event["type"], event["sequence_number"]) == (name.removeprefix("event: "), number)
        EVENTS.validate_python(event, strict=True)
        events.append(event)
    return events


def text(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"] if item["type"] == "message")


def test_a_schema_then_the_model_is_told_of_it_unless_that_is_off(client: httpx.Client, engine: FakeEngine) -> None:
    text = {"format": {"type": "json_schema", "name": "count", "schema": {"type": "integer"}}}
    ask(client, "hello", text=text)
    assert b'follows this schema:\n{"type":"integer"}\0' in bytes(engine.generations[-1].prompt)
    ask(client, "hello", text=text, include_schema_in_prompt=False)
    assert b"schema" not in bytes(engine.generations[-1].prompt)


def test_plain_request_then_a_whole_response_that_is_not_stored(client: httpx.Client) -> None:
    answer = ask(
        client, store=True, instructions="Be brief.", metadata={"a": "b"}, temperature=0.5, max_output_tokens=50
    )
    assert answer["id"].startswith("resp_") and answer["status"] == "completed" and answer["store"] is False
    [message] = answer["output"]
    assert message["id"].startswith("msg_") and message["content"][0]["annotations"] == []
    assert text(answer) == "<Be brief.> You said: hello "
    assert answer["usage"]["total_tokens"] == answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]
    told = ("instructions", "metadata", "temperature", "max_output_tokens")
    assert [answer[name] for name in told] == ["Be brief.", {"a": "b"}, 0.5, 50]
    assert answer["steering"]["method"] == "none"


def test_stream_then_the_last_event_has_the_whole_response_with_its_report(client: httpx.Client) -> None:
    wanted: dict[str, Any] = {"persona": "silly", "include": ["message.output_text.logprobs"], "top_logprobs": 1}
    whole = ask(client, "!think", **wanted)
    *events, last = stream(client, "!think", **wanted)
    changing = ("id", "created_at", "completed_at", "output", "usage")
    assert last["type"] == "response.completed"
    assert {**last["response"], **{name: whole[name] for name in changing}} == whole
    for told, wished in zip(last["response"]["output"], whole["output"], strict=True):
        assert {**told, "id": ""} == {**wished, "id": ""}
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["steering"]["personas"] == {"silly": 1.0} and "steering" not in events[0]["response"]
    entries = [
        entry for event in events if event["type"] == "response.output_text.delta" for entry in event["logprobs"]
    ]
    assert entries == whole["output"][1]["content"][0]["logprobs"] and len(entries) == 4
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 2


@pytest.mark.parametrize("place", ["body", "model", "header", "metadata"])
def test_persona_when_in_any_place_then_it_steers_and_a_header_says_how(client: httpx.Client, place: str) -> None:
    body: dict[str, Any] = {"model": "fake:silly" if place == "model" else "fake", "input": "hello"}
    if place == "body":
        body["persona"] = "silly"
    elif place == "metadata":
        body["metadata"] = {"persona": "silly"}
    response = client.post(URL, json=body, headers={"x-persona": "silly"} if place == "header" else None)
    assert text(response.json()) == "[+1.00] You said: hello " and response.headers["x-persona-method"] == "activation"


def test_calls_when_answered_then_whole_streamed_and_the_next_answer(client: httpx.Client, engine: FakeEngine) -> None:
    tools = [{"type": "web_search"}, FIND, {"type": "custom", "name": "apply_patch"}, {"type": "local_shell"}]
    whole = ask(client, "!tool", tools=tools)
    assert [tool["name"] for tool in whole["tools"]] == ["find"]
    message, *calls = whole["output"]
    assert message["content"][0]["text"] == "Wait. "
    assert [(call["name"], call["arguments"]) for call in calls] == [("find", '{"word": "é"}'), ("look", "{}")]
    done = [event["item"] for event in stream(client, "!tool", tools=tools) if event["type"].endswith("item.done")]
    assert [{**item, "id": "", "call_id": ""} for item in done[1:]] == [
        {**call, "id": "", "call_id": ""} for call in calls
    ]
    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "4"} for call in calls]
    answer = ask(client, [{"role": "user", "content": "!tool"}, *whole["output"], *results], tools=tools)
    assert text(answer) == "You said: 4 "


@pytest.mark.parametrize("streamed", [False, True])
def test_answer_when_cut_off_then_incomplete(client: httpx.Client, streamed: bool) -> None:
    answer = stream(client, max_output_tokens=1)[-1]["response"] if streamed else ask(client, max_output_tokens=1)
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["output"][0]["status"] == "incomplete" and answer["completed_at"] is None


def test_max_output_tokens_when_beyond_the_context_then_cut_and_told(client: httpx.Client) -> None:
    response = client.post(URL, json={"model": "fake", "input": "hello", "max_output_tokens": 32000})
    assert response.json()["steering"]["max_tokens"] == int(response.headers["x-max-tokens"]) < 500
    assert response.json()["max_output_tokens"] == 32000


def test_stop_and_seed_then_they_count(client: httpx.Client, engine: FakeEngine) -> None:
    assert text(ask(client, stop="said", seed=5)) == "You " and engine.generations[-1].sampling.seed == 5


@pytest.mark.parametrize("input", ["", []])
def test_probe_with_an_empty_input_then_answered(client: httpx.Client, input: Any) -> None:
    assert ask(client, input, max_output_tokens=1)["usage"]["output_tokens"] == 1


def test_stream_when_the_model_fails_then_an_error_and_a_failed_response_and_nothing_else(client: httpx.Client) -> None:
    *_, error, failed = stream(client, "!fail")
    assert error["error"]["code"] == "engine_failure" and failed["response"]["status"] == "failed"
    assert "secret" not in json.dumps([error, failed])


def test_text_format_then_the_answer_follows_it_and_it_comes_back(client: httpx.Client) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted = {"type": "json_schema", "name": "it", "schema": schema, "strict": True}
    answer = ask(client, text={"format": wanted, "verbosity": "low"})
    assert json.loads(text(answer)) == schema and answer["text"] == {"format": wanted, "verbosity": "low"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        ({"input": [{"type": "message", "content": "a"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "image_generation_call"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
            "input[0].content[0].type",
        ),
        (
            {
                "input": [
                    {"role": "user", "content": "a"},
                    {"type": "function_call_output", "call_id": "x", "output": ""},
                ]
            },
            "input[1].call_id",
        ),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, "input[0].name"),
        (
            {"input": [{"type": "function_call", "call_id": "x", "name": "f", "arguments": "[" * 99 + "]" * 99}]},
            "input[0].arguments",
        ),
        ({"input": "!refuse"}, "input"),
        ({"input": "x" * 600}, "input"),
        ({"tools": [{"type": "web_search"}, {"type": "function", "name": "a b"}]}, "tools[1].name"),
        (
            {"tools": [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": nested(65)}]},
            "tools[1].parameters",
        ),
        (
            {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}},
            "tool_choice",
        ),
        ({"tool_choice": "required", "tools": [{"type": "web_search"}]}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"const": "!impossible"}}}},
            "text.format.schema",
        ),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"coeficient": 1}, "coeficient"),
        ({"coefficient": 9}, "coefficient"),
    ],
)
def test_request_when_wrong_then_400_that_names_its_own_field_streamed_or_not(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    for streamed in (False, True):
        error = refused(client, stream=streamed, **fields)
        assert (error["status"], error["param"]) == (400, param)
        assert not error["message"].startswith(("messages", "response_format"))


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_IN_RESPONSES.keys() - UNSUPPORTED.keys() | {"prompt", "grammar"}))
def test_a_field_that_is_not_supported_then_only_its_harmless_values_are_taken(client: httpx.Client, name: str) -> None:
    for value in (None, *UNSUPPORTED_IN_RESPONSES[name].harmless):
        ask(client, **{name: value})
    error = refused(client, **{name: {"a": 1}})
    assert (error["status"], error["param"]) == (400, name) and UNSUPPORTED_IN_RESPONSES[name].possible in error[
        "message"
    ]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_response_when_looked_for_later_then_404_since_none_is_stored(client: httpx.Client, method: str) -> None:
    response = client.request(method, f"{URL}/{ask(client)['id']}")
    assert response.status_code == 404
    assert "stores none" in response.json()["error"]["message"]

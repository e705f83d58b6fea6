"""OpenAI's own Python SDK against a real server."""

import logging
from collections.abc import Iterator
from typing import Any

import openai
import pytest

HELLO: Any = [{"role": "user", "content": "hello"}]
LONG: Any = [{"role": "user", "content": "x" * 600}]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2) as client:
        yield client


def test_whole_answer_with_extra_body(client: openai.OpenAI) -> None:
    extra = {"persona": "silly", "coefficient": 0.5}
    answer = client.chat.completions.create(model="fake", messages=HELLO, extra_body=extra)
    assert answer.choices[0].message.content == "[+0.50] You said: hello "
    assert answer.model_extra is not None and answer.model_extra["steering"]["personas"] == {"silly": 0.5}
    assert answer.usage is not None and answer.usage.total_tokens == 10


def test_last_message_when_continued_then_the_sdk_gets_what_follows_streamed_too(client: openai.OpenAI) -> None:
    messages: Any = [*HELLO, {"role": "assistant", "content": "You said: "}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    whole = client.chat.completions.create(model="fake", messages=messages, extra_body=extra)
    chunks = client.chat.completions.create(model="fake", messages=messages, extra_body=extra, stream=True)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert whole.choices[0].message.content == text == "hello "


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_in_the_older_form_then_the_sdk_gets_their_call_streamed_too(client: openai.OpenAI) -> None:
    fields: Any = {
        "model": "fake",
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}},
            {"role": "function", "name": "find", "content": "42"},
            {"role": "user", "content": "!tool"},
        ],
        "functions": [{"name": "find", "parameters": {"type": "object", "properties": {}}}],
        "function_call": "auto",
    }
    [choice] = client.chat.completions.create(**fields).choices
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert choice.message.function_call is not None and choice.message.function_call.name == "find"
    written, finished = "", None
    for chunk in client.chat.completions.create(**fields, stream=True):
        for each in chunk.choices:
            assert each.delta.tool_calls is None
            if (call := each.delta.function_call) is not None:
                written += (call.name or "") + (call.arguments or "")
            finished = each.finish_reason or finished
    assert written.startswith("find") and finished == "function_call"
    assert written.startswith("find" + choice.message.function_call.arguments)


def streamed(client: openai.OpenAI, model: str = "fake", **options: Any) -> tuple[str, Any]:
    """The text of a stream and its last chunk."""
    text, last = "", None
    for last in client.chat.completions.create(model=model, messages=HELLO, stream=True, **options):
        text += "".join(choice.delta.content or "" for choice in last.choices)
    return text, last


def test_stream_with_extra_body_then_the_report_is_in_the_last_chunk(client: openai.OpenAI) -> None:
    text, last = streamed(client, extra_body={"persona": "silly"})
    assert text == "[+1.00] You said: hello "
    assert last.choices[0].finish_reason == "stop" and last.model_extra["steering"]["method"] == "activation"


def test_stream_with_a_trace_then_every_token_s_projection_and_the_same_message(client: openai.OpenAI) -> None:
    extra = {"persona": "silly", "steering": {"trace": True}}
    traced: list[Any] = []
    with client.chat.completions.stream(model="fake", messages=HELLO, extra_body=extra) as stream:
        for event in stream:
            if event.type == "chunk":
                traced += (event.chunk.model_extra or {}).get("steering", {}).get("trace", [])
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "[+1.00] You said: hello "
    assert traced == [
        {"token": token, "projection": {"silly": number / 10}}
        for number, token in enumerate(["[+1.00] ", "You ", "said: ", "hello "])
    ]


def test_stream_with_persona_in_the_models_name(client: openai.OpenAI) -> None:
    assert streamed(client, "fake:silly@-1.5")[0] == "[-1.50] You said: hello "


def test_stream_with_headers(client: openai.OpenAI) -> None:
    headers = {"X-Persona": "silly", "X-Persona-Coefficient": "2"}
    assert streamed(client, extra_headers=headers)[0] == "[+2.00] You said: hello "


def test_stream_with_usage(client: openai.OpenAI) -> None:
    text, last = streamed(client, stream_options={"include_usage": True})
    assert text == "You said: hello " and last.usage.completion_tokens == 3


def test_stream_helper_then_one_role_and_the_whole_message(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="fake:silly", messages=HELLO, n=2) as stream:
        final = stream.get_final_completion()
    messages = [choice.message for choice in final.choices]
    assert [(message.role, message.content) for message in messages] == [("assistant", "[+1.00] You said: hello ")] * 2


def test_calls_of_functions_then_whole_streamed_and_answered(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    asked: Any = [{"role": "user", "content": "!tool"}]
    whole = client.chat.completions.create(model="fake", messages=asked, tools=tools).choices[0]
    with client.chat.completions.stream(model="fake", messages=asked, tools=tools) as stream:
        streamed = stream.get_final_completion().choices[0]
    for choice in (whole, streamed):
        calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
        assert [(call.name, call.arguments) for call in calls] == [("find", '{"word": "é"}'), ("look", "{}")]
        assert choice.finish_reason == "tool_calls" and choice.message.content == "Wait. "
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": "4"} for call in whole.message.tool_calls or ()
    ]
    history: Any = [*asked, whole.message.model_dump(exclude_none=True), *results]
    answer = client.chat.completions.create(model="fake", messages=history, tools=tools)
    assert answer.choices[0].message.content == "You said: 4 "


def test_models_then_listed_and_found(client: openai.OpenAI) -> None:
    assert "demo-qwen2:serious" in [model.id for model in client.models.list()]
    assert client.models.retrieve("fake:silly").id == "fake:silly"


@pytest.mark.parametrize(
    ("options", "error", "code", "param"),
    [
        ({"extra_body": {"persona": "sily"}}, openai.NotFoundError, "persona_not_found", "persona"),
        ({"extra_body": {"persona": "honest"}}, openai.BadRequestError, "vector_unavailable", "persona"),
        ({"temperature": 9}, openai.BadRequestError, "invalid_request", "temperature"),
        ({"messages": LONG}, openai.BadRequestError, "context_length_exceeded", "messages"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_then_the_sdks_own_kinds(
    client: openai.OpenAI, options: Any, error: type[openai.APIStatusError], code: str, param: str, stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": "fake", "messages": HELLO, "stream": stream, **options})
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id


def test_failure_in_a_stream_then_api_error_with_its_message(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="The model failed") as caught:
        list(client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "!fail"}], stream=True))
    assert caught.value.code == "engine_failure"


def test_failure_of_a_whole_answer_then_asked_once_only(
    client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "proxy.requests"), pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "!fail"}])
    assert len([record for record in caplog.records if record.name == "proxy.requests"]) == 1

"""A model that one of our own servers runs, asked through another of ours: the client sees one API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.engines.upstream.servers import asked, near
from tests.fakes import FakeEngine, save_vector, serving, settings_in, wait_until


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    """The model over there."""
    return FakeEngine(token_s=0.001)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Iterator[httpx.Client]:
    there, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
    save_vector(here / "vectors", "silly", "silly", "serious", score=0.9)
    with serving(settings_in(there), engine) as url, near(here, [f"{url}/v1"], name="fake") as (client, _):
        yield client


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chunks(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_chat_when_it_is_whole_then_text_usage_and_report_are_as_everywhere(client: httpx.Client) -> None:
    answer = asked(client, messages=said("hello there")).json()
    assert answer["choices"][0]["message"]["content"] == "You said: hello there "
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (12, 4)
    assert answer["model"] == "far" and answer["steering"]["method"] == "none"


def test_chat_when_it_is_streamed_then_its_pieces_and_the_usage_at_the_end(client: httpx.Client) -> None:
    response = asked(client, messages=said("hello"), stream=True, stream_options={"include_usage": True})
    told = chunks(response)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in told[:-1])
    assert text == "You said: hello " and response.headers["x-persona-method"] == "none"
    assert told[-1]["usage"]["prompt_tokens"] == 6 and told[-1]["usage"]["completion_tokens"] == 3
    assert told[-2]["choices"][0]["finish_reason"] == "stop" and told[-2]["steering"]["method"] == "none"


def test_chat_when_fields_say_how_to_draw_then_they_reach_the_other_server(
    client: httpx.Client, engine: FakeEngine
) -> None:
    drawn: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.8,
        "top_k": 7,
        "min_p": 0.1,
        "seed": 5,
        "max_tokens": 3,
        "n": 2,
    }
    drawn |= {"frequency_penalty": 0.1, "presence_penalty": 0.2, "repetition_penalty": 1.3, "logit_bias": {"9": -1}}
    engine.generations.clear()
    answer = asked(client, **drawn).json()
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]
    assert answer["usage"]["completion_tokens"] == 6
    used = [generation.sampling for generation in engine.generations]
    assert sorted(each.seed or 0 for each in used) == [5, 6]
    one = used[0]
    assert (one.temperature, one.top_p, one.top_k, one.min_p, one.max_tokens) == (0.5, 0.8, 7, 0.1, 3)
    assert (one.frequency_penalty, one.presence_penalty, one.repetition_penalty) == (0.1, 0.2, 1.3)
    assert one.logit_bias == {9: -1}


def test_chat_when_it_stops_at_a_text_then_that_is_left_out(client: httpx.Client) -> None:
    answer = asked(client, messages=said("one two three"), stop=[" three"]).json()
    assert answer["choices"][0]["message"]["content"] == "You said: one two"
    assert answer["usage"]["prompt_tokens"] > 0


def test_chat_when_logprobs_are_asked_for_then_tokens_are_told_with_their_bytes(client: httpx.Client) -> None:
    answer = asked(client, messages=said("hi"), logprobs=True, top_logprobs=2).json()
    content = answer["choices"][0]["logprobs"]["content"]
    assert [entry["bytes"] for entry in content] == [[195, 51]] * 3
    assert content[0]["logprob"] == -3.0 and [top["logprob"] for top in content[0]["top_logprobs"]] == [-1.0, -2.0]


def test_chat_when_the_model_thinks_then_its_thoughts_are_told_apart(client: httpx.Client) -> None:
    answer = asked(client, messages=said("!think")).json()
    assert answer["choices"][0]["message"]["reasoning_content"] == "hmm, well"
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_when_functions_are_called_then_calls_with_names_and_arguments(
    client: httpx.Client, streamed: bool
) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("find", "look")]
    sdk = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none")
    asking: dict[str, Any] = {"model": "far", "messages": said("!tool"), "tools": tools, "tool_choice": "required"}
    if streamed:
        with sdk.chat.completions.stream(**asking) as stream:
            answer = stream.get_final_completion()
    else:
        answer = sdk.chat.completions.create(**asking)
    calls = answer.choices[0].message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls if call.type == "function"] == [
        ("find", '{"word": "é"}'),
        ("look", "{}"),
    ]
    assert answer.choices[0].finish_reason == "tool_calls"


def test_chat_when_a_call_is_answered_then_the_other_server_gets_call_and_result(
    client: httpx.Client, engine: FakeEngine
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"word": "x"}'}}
    engine.generations.clear()
    messages = [*said("go"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    answer = asked(client, messages=[*messages, {"role": "tool", "tool_call_id": "c1", "content": "found"}])
    assert answer.json()["choices"][0]["message"]["content"] == "You said: found "
    assert bytes(engine.generations[0].prompt) == b"\0found\0find"


def test_chat_when_an_answer_follows_a_schema_then_the_other_server_keeps_it_to_that(client: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    answer = asked(client, response_format=form).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {**schema, "additionalProperties": False}


def test_chat_when_an_answer_goes_on_then_from_what_was_said(client: httpx.Client) -> None:
    messages = [*said("x y"), {"role": "assistant", "content": "You said: "}]
    answer = asked(client, messages=messages, continue_final_message=True).json()
    assert answer["choices"][0]["message"]["content"] == "x y "


def test_chat_when_the_persona_is_asked_for_by_prompt_then_the_other_server_is_told_in_words(
    client: httpx.Client,
) -> None:
    response = asked(client, messages=said("hi"), persona="silly", steering={"method": "prompt"})
    answer = response.json()
    assert answer["choices"][0]["message"]["content"].startswith("<You are a silly assistant.")
    assert answer["steering"]["personas"] == {"silly": 1.0} and answer["steering"]["method"] == "prompt"
    assert response.headers["x-persona-method"] == "prompt"


def test_chat_when_the_persona_is_asked_for_by_sampling_then_openais_own_fields_change(
    client: httpx.Client, engine: FakeEngine
) -> None:
    engine.generations.clear()
    report = asked(client, persona="silly", steering={"method": "sampling"}).json()["steering"]
    used = engine.generations[0].sampling
    assert report["method"] == "sampling"
    assert report["sampling"] == {"temperature": used.temperature, "top_p": used.top_p}
    assert used.temperature > 0.7 and used.top_p < 0.9 and used.repetition_penalty == 1.0


@pytest.mark.parametrize("method", ["auto", "activation"])
def test_chat_when_the_persona_needs_activation_then_400_says_what_else_to_ask_for(
    client: httpx.Client, method: str
) -> None:
    response = asked(client, persona="silly", steering={"method": method})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "vector_unavailable", "steering.method")
    assert error["message"] == (
        'steering.method: far runs on another server, which can\'t be steered; possible: "sampling" or "prompt", such '
        'as "steering": {"method": "prompt"}; an operator makes that the default for far with method = "prompt" in its '
        "table upstream"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"trace": True},
        {"positions": "all"},
        {"mode": "cap"},
        {"layers": [1]},
        {"channels": ["final"]},
        {"projection": ["silly"]},
    ],
    ids=str,
)
def test_chat_when_a_field_needs_residuals_then_400_names_it_and_says_why(
    client: httpx.Client, options: dict[str, Any]
) -> None:
    response = asked(client, persona="silly", steering={"method": "prompt", **options})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, f"steering.{next(iter(options))}")
    assert "runs on another server" in error["message"]


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_when_the_other_server_refuses_then_its_400_is_passed_on(client: httpx.Client, streamed: bool) -> None:
    response = asked(client, messages=said("!refuse"), stream=streamed)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages")
    assert error["message"].startswith("The server behind this model refuses the request: messages: the template")


def test_chat_when_the_other_server_finds_it_too_long_then_the_code_is_passed_on(client: httpx.Client) -> None:
    error = asked(client, messages=said("x" * 600)).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


def test_chat_when_the_model_fails_in_the_middle_then_502(client: httpx.Client) -> None:
    response = asked(client, messages=said("!fail"))
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_failed")


def test_chat_when_the_client_leaves_then_the_other_server_ends_the_answer(
    client: httpx.Client, engine: FakeEngine
) -> None:
    body = {"model": "far", "messages": said("!forever"), "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
        (run,) = engine.running
        assert not run.cancelled.is_set()
    wait_until(run.cancelled.is_set)


def test_completion_when_the_prompt_is_raw_then_the_answer_goes_on_with_it(client: httpx.Client) -> None:
    answer = asked(client, "/v1/completions", prompt=["ab cd", "ef"], logprobs=1, echo=False).json()
    assert [choice["text"] for choice in answer["choices"]] == ["You said: ab cd ", "You said: ef "]
    assert answer["choices"][0]["logprobs"]["token_logprobs"][:2] == [-3.0, -3.0]
    assert answer["usage"]["prompt_tokens"] == 7


def test_completion_when_the_prompts_own_logprobs_are_asked_for_then_400_says_why(client: httpx.Client) -> None:
    response = asked(client, "/v1/completions", prompt="ab", logprobs=1, echo=True)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "echo")
    assert asked(client, "/v1/completions", prompt="ab", echo=True).json()["choices"][0]["text"] == "abYou said: ab "


def test_response_when_it_is_asked_for_then_the_answer_and_its_usage(client: httpx.Client) -> None:
    answer = asked(client, "/v1/responses", input="hi there").json()
    assert answer["output"][0]["content"][0]["text"] == "You said: hi there "
    assert answer["usage"]["input_tokens"] == 9 and answer["usage"]["output_tokens"] == 4


def test_models_when_one_is_on_another_server_then_its_context_is_told_and_no_persona_listed(
    client: httpx.Client,
) -> None:
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["context_length"]) == ("far", 500)


def test_model_when_it_is_a_persona_over_there_then_it_is_steered_there(tmp_path: Path, engine: FakeEngine) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    save_vector(there / "vectors", "silly", "silly", "serious", score=0.9)
    with (
        serving(settings_in(there), engine) as url,
        near(here, [f"{url}/v1"], name="fake:silly") as (client, _),
    ):
        engine.generations.clear()
        assert asked(client).raise_for_status().json()["steering"]["method"] == "none"
    (generation,) = engine.generations
    assert generation.plan.interventions


def test_extraction_when_the_model_is_on_another_server_then_400_says_why(client: httpx.Client) -> None:
    response = client.post("/api/vectors/generate", json={"model": "far", "trait": "silly"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")
    assert "runs on another server" in response.json()["error"]["message"]

"""POST /v1/chat/completions as a plain HTTP client sees it."""

import json
from typing import Any

import httpx
import pytest

from tests.contract.chat import URL, ask, called, refused, said
from tests.fakes import FakeEngine


def test_plain_request_then_openais_shape_and_a_report_that_says_nothing_was_done(client: httpx.Client) -> None:
    answer = ask(client)
    assert answer["object"] == "chat.completion" and answer["model"] == "fake" and answer["id"].startswith("chatcmpl-")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "You said: hello ", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert answer["usage"] == {
        "prompt_tokens": 6,
        "completion_tokens": 3,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert answer["steering"] == {
        "personas": {},
        "method": "none",
        "layers": [],
        "relative_dose": 0.0,
        "clamped": False,
        "vectors": [],
        "sampling": {"temperature": 1.0, "top_p": 1.0},
    }


BEGUN: list[dict[str, Any]] = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "You said: ", "reasoning_content": "Hm."},
]


def test_last_message_when_continued_then_only_what_follows_it_is_told(
    client: httpx.Client, engine: FakeEngine
) -> None:
    answer = ask(client, messages=BEGUN, continue_final_message=True, add_generation_prompt=False)
    assert said(answer) == "hello "
    generation = engine.generations[-1]
    assert bytes(generation.prompt) == b"\0hello\0Hm.\0You said: " and generation.begun == len("You said: ")
    assert answer["usage"]["prompt_tokens"] == len(generation.prompt)
    assert said(ask(client, messages=BEGUN, continue_final_message=True)) == "hello "
    # Without the field the answer is one more.
    assert said(ask(client, messages=BEGUN, add_generation_prompt=True)) == "You said: You said:  "


def test_last_message_when_it_only_reasons_so_far_then_the_reasoning_goes_on(
    client: httpx.Client, engine: FakeEngine
) -> None:
    for name in ("reasoning_content", "reasoning"):
        messages = [BEGUN[0], {"role": "assistant", "content": None, name: "Hm."}]
        ask(client, messages=messages, continue_final_message=True)
        assert bytes(engine.generations[-1].prompt) == b"\0hello\0Hm.\0"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"continue_final_message": True, "messages": BEGUN[:1]}, "messages"),
        ({"continue_final_message": True, "messages": BEGUN[1:]}, "messages"),
        ({"continue_final_message": True, "messages": [*BEGUN[:1], called("{}")]}, "messages[1].tool_calls"),
    ],
)
def test_continuing_when_it_can_t_be_then_a_400_names_the_field(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    error = refused(client, **fields)
    assert error["status"] == 400 and error["param"] == param


def test_content_parts_and_developer_role_then_read_as_text_and_system(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [{"role": "developer", "content": "brief"}, {"role": "user", "content": parts}]
    assert said(ask(client, messages=messages)) == "<brief> You said: one\ntwo "


def test_sampling_fields_then_the_engine_gets_them(client: httpx.Client, engine: FakeEngine) -> None:
    fields: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "repetition_penalty": 1.1,
        "seed": 7,
    }
    answer = ask(client, **fields, logit_bias={"3": -100}, max_tokens=20, user="someone", unheard_of={"x": 1})
    sampling = engine.generations[-1].sampling
    assert {name: getattr(sampling, name) for name in fields} == fields
    assert (sampling.max_tokens, sampling.logit_bias) == (20, {3: -100})
    assert answer["steering"]["sampling"] == {"temperature": 0.5, "top_p": 0.9, "repetition_penalty": 1.1}


def test_several_choices_then_seeds_differ_and_the_prompt_counts_once(client: httpx.Client, engine: FakeEngine) -> None:
    answer = ask(client, n=3, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [generation.sampling.seed for generation in engine.generations[-3:]] == [5, 6, 7]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (6, 9)


@pytest.mark.parametrize("stop", ["said", ["x", "id: h"]])
def test_stop_string_then_the_answer_ends_before_it_and_the_run_is_cancelled(client: httpx.Client, stop: Any) -> None:
    answer = ask(client, stop=stop)
    assert said(answer) in ("You ", "You sa") and answer["choices"][0]["finish_reason"] == "stop"
    assert said(ask(client, "!forever", stop="la la")) == "You said: !forever "


def test_max_tokens_then_length(client: httpx.Client) -> None:
    answer = ask(client, "!forever", max_tokens=50, max_completion_tokens=4)
    assert answer["usage"]["completion_tokens"] == 4 and answer["choices"][0]["finish_reason"] == "length"


def test_no_max_tokens_then_all_that_fits(client: httpx.Client, engine: FakeEngine) -> None:
    ask(client)
    assert engine.generations[-1].sampling.max_tokens == 500 - 6


def test_reasoning_then_beside_the_content(client: httpx.Client) -> None:
    message = ask(client, "!think")["choices"][0]["message"]
    assert message["reasoning_content"] == message["reasoning"] == "hmm, well"
    assert message["content"] == "You said: !think "


def test_engine_failure_then_500_once_and_no_detail(client: httpx.Client) -> None:
    response = client.post(URL, json={"model": "fake", "messages": [{"role": "user", "content": "!fail"}]})
    assert response.status_code == 500 and response.json()["error"]["code"] == "engine_failure"
    assert response.headers["x-should-retry"] == "false" and "secret" not in response.text


def test_logprobs_then_an_entry_for_each_token_of_the_content(client: httpx.Client) -> None:
    thought = {"token": "\\xc33", "logprob": -3.0, "bytes": [0xC3, ord("3")]}
    top = [{"token": f"\\xc3{n}", "logprob": -n, "bytes": [0xC3, ord(str(n))]} for n in (1, 2)]
    for n_top, expected in ((2, top), (0, []), (None, [])):
        answer = ask(client, "!think", logprobs=True, top_logprobs=n_top)
        entries = [{**thought, "top_logprobs": expected}] * 3
        assert answer["choices"][0]["logprobs"] == {"content": entries, "refusal": None}
    assert ask(client, logprobs=False, top_logprobs=0)["choices"][0]["logprobs"] is None


def test_no_model_then_the_first_one(client: httpx.Client) -> None:
    assert ask(client, model=None)["model"] == "fake"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_limit_when_there_is_less_room_then_the_answer_gets_what_there_is_and_says_so(
    client: httpx.Client, engine: FakeEngine, field: str, stream: bool
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "!forever"}], field: 32_000, "stream": stream}
    response = client.post(URL, json=body)
    room = 500 - len("\0!forever")
    assert response.status_code == 200 and response.headers["x-max-tokens"] == str(room)
    *_, last = response.text.replace("\n\ndata: [DONE]\n\n", "").rsplit("data: ", 1)
    answer = json.loads(last)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["steering"]["max_tokens"] == room == engine.generations[-1].sampling.max_tokens


def test_reasoning_then_its_tokens_are_told_apart_in_the_usage(client: httpx.Client) -> None:
    usage = ask(client, "!think")["usage"]
    assert usage["completion_tokens"] == 5 and usage["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_fingerprint_then_another_one_with_other_vectors(client: httpx.Client) -> None:
    asked: list[dict[str, Any]] = [{}, {}, {"persona": "silly"}]
    plain, again, silly = (ask(client, **fields)["system_fingerprint"] for fields in asked)
    assert plain == again != silly and plain.startswith("fp_")


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, {}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "low", "enable_thinking": False}),
        ({"reasoning_effort": "minimal"}, {"reasoning_effort": "low", "enable_thinking": True}),
        ({"reasoning_effort": "medium"}, {"reasoning_effort": "medium", "enable_thinking": True}),
        ({"reasoning_effort": "max"}, {"reasoning_effort": "high", "enable_thinking": True}),
        ({"chat_template_kwargs": {"enable_thinking": False, "x": 1}}, {"enable_thinking": False, "x": 1}),
    ],
)
def test_effort_and_words_for_the_template_then_it_sees_them(
    client: httpx.Client, engine: FakeEngine, fields: dict[str, Any], seen: dict[str, Any]
) -> None:
    ask(client, **fields)
    assert engine.options == seen


def test_limit_when_there_is_room_then_nothing_is_said_of_it(client: httpx.Client) -> None:
    response = client.post(URL, json={"messages": [{"role": "user", "content": "hello"}], "max_tokens": 400})
    assert "x-max-tokens" not in response.headers and "max_tokens" not in response.json()["steering"]

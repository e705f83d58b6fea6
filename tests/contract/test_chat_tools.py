"""Functions in /v1/chat/completions: what the model is told of them, how it may call, and what a client gets."""

import json
from typing import Any

import httpx
import pytest

from proxy.settings import Settings
from tests.contract.chat import CALL, TOOLS, URL, as_schema, ask, said
from tests.fakes import FakeEngine, serving


def test_calls_of_functions_then_in_openais_shape(client: httpx.Client) -> None:
    answer = ask(client, "!tool", tools=TOOLS)
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == "Wait. "
    first, second = choice["message"]["tool_calls"]
    assert first["type"] == "function" and first["function"] == {"name": "find", "arguments": '{"word": "é"}'}
    assert second["function"] == {"name": "look", "arguments": "{}"}
    assert len({first["id"], second["id"], ask(client, "!tool", tools=TOOLS)["id"]}) == 3
    assert answer["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}])
def test_calls_when_no_tools_are_wanted_then_left_out(
    client: httpx.Client, engine: FakeEngine, fields: dict[str, Any]
) -> None:
    choice = ask(client, "!tool", **fields)["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == "Wait. "
    assert "tool_calls" not in choice["message"] and b"find" not in bytes(engine.generations[-1].prompt)


def test_tools_calls_and_their_results_then_the_template_gets_them(client: httpx.Client, engine: FakeEngine) -> None:
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    assert said(ask(client, messages=messages, tools=TOOLS)) == "You said: 42 "
    assert bytes(engine.generations[-1].prompt) == b"\0" + b"42\0find\0find"


CALLED: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "42"},
]


def test_tools_when_the_template_has_no_place_for_them_then_it_gets_them_in_words(settings: Settings) -> None:
    engine = FakeEngine(knows_tools=False)
    with serving(settings, engine) as url, httpx.Client(base_url=url) as client:
        ask(client, messages=CALLED, tools=TOOLS)
        system, last, *_ = bytes(engine.generations[-1].prompt).decode().split("\0")
        assert system.startswith("Be brief.\n\nYou can call functions.") and '{"name": "find", "desc' in system
        assert last == "<tool_response>\n42\n</tool_response>"
        ask(client, messages=CALLED)
        assert bytes(engine.generations[-1].prompt).decode().split("\0")[:2] == ["Be brief.", last]
        ask(client, tools=TOOLS, tool_choice="none")
        assert b"find" not in bytes(engine.generations[-1].prompt)


def test_tools_when_gpt_oss_s_template_has_no_place_for_them_then_it_gets_them_in_its_own_form(
    settings: Settings,
) -> None:
    engine = FakeEngine(knows_tools=False, family="gpt_oss")
    with serving(settings, engine) as url, httpx.Client(base_url=url) as client:
        ask(client, messages=CALLED, tools=TOOLS)
        system, last, *_ = bytes(engine.generations[-1].prompt).decode().split("\0")
        assert system.startswith("Be brief.\n\n# Tools") and "\ntype find = (_: {" in system
        assert last == (
            "hello<|end|><|start|>assistant to=functions.find<|channel|>commentary json<|message|>"
            '{"word": "a"}'
            "<|call|><|start|>functions.find to=assistant<|channel|>commentary<|message|>42"
        )


LOOK = {"type": "function", "function": {"name": "look", "strict": True}}
BOTH = [*TOOLS, LOOK]
NAMED = {"type": "function", "function": {"name": "look"}}
ALLOWED = {"tools": [NAMED], "mode": "required"}


@pytest.mark.parametrize(
    ("fields", "names", "needed", "several", "ending"),
    [
        ({}, ["find", "look"], False, True, "tool_calls"),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, ["find", "look"], False, False, "tool_calls"),
        ({"tool_choice": "required"}, ["find", "look"], True, False, "tool_calls"),
        ({"tool_choice": "required", "parallel_tool_calls": True}, ["find", "look"], True, True, "tool_calls"),
        ({"tool_choice": NAMED}, ["look"], True, False, "stop"),
        ({"tool_choice": {"type": "function", "name": "look"}}, ["look"], True, False, "stop"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": ALLOWED}}, ["look"], True, False, "tool_calls"),
        ({"response_format": as_schema({"type": "null"})}, ["find", "look"], False, True, "tool_calls"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_choice_of_tools_then_the_engine_gets_its_rules_and_the_answer_ends_as_openais(
    client: httpx.Client,
    engine: FakeEngine,
    fields: dict[str, Any],
    names: list[str],
    needed: bool,
    several: bool,
    ending: str,
    stream: bool,
) -> None:
    body = {"messages": [{"role": "user", "content": "!tool"}], "tools": BOTH, "stream": stream, **fields}
    response = client.post(URL, json=body)
    assert response.status_code == 200
    rules = engine.generations[-1].calls
    assert rules is not None and (rules.needed, rules.several) == (needed, several)
    assert [function.name for function in rules.functions] == names
    look = rules.functions[-1]
    assert look.strict and json.loads(look.parameters)["additionalProperties"] is False
    if "response_format" not in fields:
        assert f'"finish_reason":"{ending}"' in response.text and '"name":"look"' in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_functions_in_the_older_form_then_the_answer_is_in_it_too(client: httpx.Client, stream: bool) -> None:
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}},
        {"role": "function", "name": "find", "content": "42"},
        {"role": "user", "content": "!tool"},
    ]
    functions = [tool["function"] for tool in TOOLS]
    response = client.post(URL, json={"messages": messages, "functions": functions, "stream": stream})
    assert '"finish_reason":"function_call"' in response.text and "tool_calls" not in response.text
    if not stream:
        call = response.json()["choices"][0]["message"]["function_call"]
        assert call == {"name": "find", "arguments": '{"word": "é"}'}
    assert client.post(URL, json={"messages": messages, "functions": functions, "function_call": "none"}).is_success

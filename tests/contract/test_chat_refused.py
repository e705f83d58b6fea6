"""What /v1/chat/completions refuses: the field is named, and what is possible."""

import json
from typing import Any

import httpx
import pytest

from proxy.chat.unsupported import UNSUPPORTED
from tests.contract.chat import CALL, TOOLS, URL, as_schema, ask, called, refused

LARGEST = 2**31 - 1
RANGES = [  # of every number, but for those that have a row of their own below
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("frequency_penalty", -2, 2),
    ("presence_penalty", -2, 2),
    ("repetition_penalty", 0.01, 100),
    ("top_k", -1, LARGEST),
    ("max_tokens", 1, LARGEST),
    ("max_completion_tokens", 1, LARGEST),
    ("n", 1, 8),
    ("coefficient", -2, 2),
]


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def tool(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "deep", "parameters": parameters}}


@pytest.mark.parametrize(
    ("fields", "param", "possible"),
    [
        ({"coefficient": "1", "persona": "silly"}, "coefficient", "from -2 to 2"),
        ({"coefficient": True, "persona": "silly"}, "coefficient", "from -2 to 2"),
        ({"coefficient": 2.5, "persona": "silly"}, "coefficient", "from -2 to 2"),
        ({"coefficient": float("nan"), "persona": "silly"}, "coefficient", "from -2 to 2"),
        ({"coefficient": float("-inf"), "persona": "silly"}, "coefficient", "from -2 to 2"),
        ({"coefficient": 1}, "persona", "silly"),
        ({"persona": 5}, "persona", "text"),
        ({"persona": {"silly": "1"}}, "persona", "from -2 to 2"),
        ({"persona": {"silly": 2, "honest": 2, "serious": 1}}, "persona", "up to 4"),
        ({"messages": []}, "messages", "it is empty; possible: a list of an object with role"),
        ({"messages": "hello"}, "messages", "a list of an object with role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", '"user"'),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "text"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", '"user"'),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type", "text"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].id", "text"),
        ({"messages": [{"role": "user", "tool_calls": [CALL]}]}, "messages[0].tool_calls", "assistant"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content", "text"),
        (
            {"messages": [{"role": "assistant", "function_call": {"name": "f"}}]},
            "messages[0].function_call.arguments",
            "text",
        ),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages[0].tool_call_id", "no message before it"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "x", "content": ""},
                ]
            },
            "messages[1].tool_call_id",
            "possible: call_1",
        ),
        ({"messages": [{"role": "user", "content": "!refuse"}]}, "messages", "refuses"),
        ({"temperature": 2.1}, "temperature", "from 0 to 2"),
        ({"temperature": "hot"}, "temperature", "from 0 to 2"),
        *(
            ({field: value}, field, f"{most:g}" if most < 1000 else "2147483647")
            for field, least, most in RANGES
            for value in (least - 0.001 if most < 1000 else least - 1, most + 1, -(2**63), 2**63, 2**64, 10**30, 1e300)
        ),
        ({"logit_bias": {"0": 100.1}}, "logit_bias", "100"),
        ({"logit_bias": {"0": -1e300}}, "logit_bias", "100"),
        ({"logit_bias": {str(2**31): 1}}, "logit_bias", "2147483647"),
        ({"seed": 2**63}, "seed", "9223372036854775807"),
        ({"seed": -(2**63) - 1}, "seed", "9223372036854775807"),
        ({"tools": [*TOOLS, tool(nested(65))]}, "tools[1].function.parameters", "64 levels"),
        ({"tools": [tool(nested(900))]}, "tools[0].function.parameters", "64 levels"),
        ({"messages": [called(json.dumps(nested(65)))]}, "messages[0].tool_calls[0].function.arguments", "64 levels"),
        ({"messages": [called("[" * 100000)]}, "messages[0].tool_calls[0].function.arguments", "64 levels"),
        ({"messages": [called('{"a":' * 100000)]}, "messages[0].tool_calls[0].function.arguments", "64 levels"),
        ({"n": 9}, "n", "from 1 to 8"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "text"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "expected int"),
        ({"steering": {"method": "magic"}}, "steering.method", '"activation"'),
        ({"steering": {"layers": [-1]}}, "steering.layers[0]", "from 0 to 2147483647"),
        ({"steering": {"channels": []}}, "steering.channels", '"final"'),
        ({"steering": {"channels": ["commentary"]}}, "steering.channels[0]", '"analysis" or "final"'),
        ({"steering": {"max_relative_dose": 0}}, "steering.max_relative_dose", "above 0"),
        ({"steering": {"random_direction": -1}}, "steering.random_direction", "from 0"),
        (
            {"steering": {"random_direction": 1, "mode": "cap"}, "persona": "silly"},
            "steering.random_direction",
            'steering.mode to be "add"',
        ),
        (
            {"steering": {"random_direction": 1, "layers": [1]}, "persona": "silly"},
            "steering.random_direction",
            "steering.layers",
        ),
        (
            {"steering": {"random_direction": 1, "method": "prompt"}, "persona": "silly"},
            "steering.random_direction",
            "steering.method",
        ),
        ({"steering": {"trace": True}}, "steering.trace", "name personas in steering.projection"),
        ({"steering": {"trace": True}, "persona": "silly", "n": 2}, "steering.trace", "n must be 1"),
        ({"steering": {"projection": ["silly"]}}, "steering.projection", "where answers lie that are silly"),
        ({"steering": {"projection": ["honest"]}}, "steering.projection", "extract one of the trait dishonest"),
        (
            {"steering": {"projection": "silly"}},
            "steering.projection",
            "steering.projection: it is text; possible: a list",
        ),
        ({"steering": {"method": "sampling"}, "persona": "deep"}, "persona", "no vector for 'deep'"),
        ({"steering": {"method": "activation"}, "persona": "honest"}, "persona", "no vector for 'honest'"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "an object with name"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "text"),
        ({"tools": [{"type": "web", "function": {"name": "f"}}]}, "tools[0].type", '"function"'),
        ({"tool_choice": {"type": "function", "function": {"name": "find"}}}, "tool_choice", "no tools"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", '"required"'),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice", '"required"'),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "find"),
        ({"functions": [{}]}, "functions[0].name", "text"),
        ({"functions": [{"name": "f"}], "tools": TOOLS}, "functions", "one of them"),
        ({"functions": [{"name": "f"}], "function_call": "x"}, "function_call", '"auto"'),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].name", "none"),
        ({"logprobs": 1}, "logprobs", "true or false"),
        ({"top_logprobs": 2}, "top_logprobs", "0"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
        ({"response_format": "json"}, "response_format", "an object with type"),
        ({"response_format": {"type": "xml"}}, "response_format.type", '"json_schema"'),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "name, schema"),
        ({"response_format": as_schema(None)}, "response_format.json_schema.schema", "an object"),
        ({"response_format": as_schema({}, name="a b")}, "response_format.json_schema.name", "text"),
        ({"response_format": as_schema({"a": "!impossible"})}, "response_format.json_schema.schema", "!impossible"),
        ({"audio": {"voice": "x"}}, "audio", "no audio"),
        ({"metadata": {"persona": 1}}, "metadata.persona", "text"),
        ({"response_format": {"type": "json_object", "schema": 1}}, "response_format.schema", "an object"),
        ({"response_format": {"type": "json_object", "schema": {"a": "!impossible"}}}, "response_format.schema", "!im"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema", "json_object"),
        ({"response_format": {**as_schema({}), "schema": {}}}, "response_format.schema", "one of"),
        (
            {"response_format": {**as_schema({}), "type": "json_object"}},
            "response_format.json_schema",
            "the type json_schema",
        ),
        ({"guided_json": {"type": "object"}}, "guided_json", "response_format with json_schema"),
        ({"min_tokens": 5}, "min_tokens", "0"),
        ({"stop_token_ids": [7]}, "stop_token_ids", "stop"),
        ({"web_search_options": {}}, "web_search_options", "no search"),
        ({"verbosity": "low"}, "verbosity", '"medium"'),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_field_then_400_naming_it_and_what_is_possible(
    client: httpx.Client, fields: dict[str, Any], param: str, possible: str, stream: bool
) -> None:
    error = refused(client, **fields, stream=stream)
    assert (error["status"], error["param"]) == (400, param), error
    assert possible in error["message"]
    assert error["type"] == "invalid_request_error" and isinstance(error["code"], str)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("persona_", "silly", "did you mean persona?"),
        ("personas", {"silly": 1}, "did you mean persona?"),
        ("Persona", "silly", "did you mean persona?"),
        ("coeficient", -1, "did you mean coefficient?"),
        ("stering", {"method": "prompt"}, "did you mean steering?"),
        ("extra_body", {"persona": "silly"}, "beside model"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_field_when_it_is_nearly_one_of_ours_then_400_that_says_which_was_meant(
    client: httpx.Client, field: str, value: Any, why: str, stream: bool
) -> None:
    error = refused(client, **{"persona": "silly", field: value}, stream=stream)
    assert (error["status"], error["param"], error["code"]) == (400, field, "invalid_request")
    assert why in error["message"]


def test_a_field_when_far_from_ours_then_it_is_ignored(client: httpx.Client) -> None:
    ask(client, personality="bold", chat_id="1", extra_body={}, store=True, prompt_cache_key="x")


def test_harmless_values_of_unsupported_fields_then_accepted(client: httpx.Client) -> None:
    ask(client, tools=[], tool_choice="none", logprobs=False, response_format={"type": "text"}, modalities=["text"])


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_a_field_that_is_not_supported_then_only_its_harmless_values_are_taken(client: httpx.Client, name: str) -> None:
    for value in (None, *UNSUPPORTED[name].harmless):
        ask(client, **{name: value})
    for value in ("x", {"type": "object"}, [1], 0.37):
        error = refused(client, **{name: value})
        assert (error["status"], error["param"]) == (400, name)
        assert UNSUPPORTED[name].possible in error["message"]


def test_unknown_model_then_404_naming_the_known_ones(client: httpx.Client) -> None:
    error = refused(client, model="gpt-9")
    assert (error["status"], error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "fake" in error["message"]


def test_prompt_when_too_long_then_context_length_exceeded(client: httpx.Client) -> None:
    for said in ("x" * 600, "x" * 499):
        error = refused(client, messages=[{"role": "user", "content": said}])
        assert (error["status"], error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
        assert "500" in error["message"]


def test_words_for_the_template_when_not_a_client_s_then_400_names_them(client: httpx.Client) -> None:
    for name in ("messages", "chat_template", "bos_token"):
        error = refused(client, chat_template_kwargs={name: "x"})
        assert error["status"] == 400 and error["param"] == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_body_that_is_no_request_then_400(client: httpx.Client, body: bytes) -> None:
    response = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and response.json()["error"]["type"] == "invalid_request_error"

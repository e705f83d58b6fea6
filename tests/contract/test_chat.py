"""POST /v1/chat/completions as a plain HTTP client sees it."""

import json
from typing import Any

import httpx
import pytest

from proxy.chat.unsupported import UNSUPPORTED
from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving

URL = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"word": "a"}'}}


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


def called(arguments: str) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def as_schema(schema: Any, name: str = "it") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def ask(client: httpx.Client, said: str = "hello", *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"model": "fake", "messages": [{"role": "user", "content": said}], **fields}
    response = client.post(URL, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def said(answer: dict[str, Any], index: int = 0) -> str:
    content: str = answer["choices"][index]["message"]["content"]
    return content


def refused(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], **fields}
    response = client.post(URL, content=json.dumps(body), headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500, response.text
    error: dict[str, Any] = response.json()["error"]
    return {"status": response.status_code, **error}


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


def test_random_direction_then_as_strong_as_the_personas_and_reported(client: httpx.Client) -> None:
    asked: dict[str, Any] = {"persona": "silly", "coefficient": -1.0}
    own = ask(client, **asked)["steering"]
    answers = [ask(client, **asked, steering={"random_direction": number}) for number in (1, 2, 1)]
    for answer, number in zip(answers, (1, 2, 1), strict=True):
        # What the range was measured with is not what was added.
        expected = {name: value for name, value in own.items() if name != "beyond_measured_range"}
        assert answer["steering"] == {**expected, "random_direction": number}
    texts = [said(answer) for answer in answers]
    assert texts[0] == texts[2] != texts[1] and said(ask(client, **asked)) not in texts


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


@pytest.mark.parametrize(
    ("fields", "headers", "mark"),
    [
        ({"persona": "silly"}, {}, "[+1.00] "),
        ({"persona": "serious"}, {}, "[-1.00] "),
        ({"persona": "silly", "coefficient": -1}, {}, "[-1.00] "),
        ({"persona": {"silly": 1.5}}, {}, "[+1.50] "),
        ({"model": "fake:silly"}, {}, "[+1.00] "),
        ({"model": "fake:silly@-0.5"}, {}, "[-0.50] "),
        ({}, {"X-Persona": "silly", "X-Persona-Coefficient": "0.5"}, "[+0.50] "),
        ({"metadata": {"persona": "silly"}}, {}, "[+1.00] "),
        ({"metadata": {"persona": "silly"}, "persona": None}, {"X-Persona": "serious"}, "[-1.00] "),
        ({"persona": "none", "model": "fake:silly"}, {"X-Persona": "silly"}, ""),
        ({"persona": "silly", "coefficient": 0}, {}, ""),
    ],
)
def test_persona_when_given_anywhere_then_the_model_is_steered(
    client: httpx.Client, fields: dict[str, Any], headers: dict[str, str], mark: str
) -> None:
    answer = ask(client, headers=headers, **fields)
    assert said(answer) == f"{mark}You said: hello "
    assert answer["steering"]["method"] == ("activation" if mark else "none")


def test_channels_then_the_plan_is_limited_and_the_answer_says_so(client: httpx.Client, engine: FakeEngine) -> None:
    answer = ask(client, persona="silly", steering={"channels": ["final"]})
    assert answer["steering"]["channels"] == ["final"]
    assert engine.generations[-1].plan.channels == frozenset(("content",))
    assert "channels" not in ask(client, persona="silly")["steering"]


def test_persona_by_prompt_then_its_instruction_goes_before_the_system_prompt(client: httpx.Client) -> None:
    system = {"role": "system", "content": "Be brief."}
    messages = [system, {"role": "user", "content": "hello"}]
    steering = {"method": "prompt"}
    answer = ask(client, persona="honest", coefficient=-1, steering=steering, messages=messages)
    # Minus honest asks for dishonest; no vector is needed for a prompt.
    assert "Be brief.> You said" in said(answer) and "false answers" in said(answer)
    assert answer["steering"]["method"] == "prompt" and answer["steering"]["personas"] == {"honest": -1.0}


def test_sampling_method_then_the_parameters_move_by_the_coefficient_and_the_answer_says_so(
    client: httpx.Client, engine: FakeEngine
) -> None:
    answer = ask(client, persona="silly", steering={"method": "sampling"})
    assert answer["steering"]["sampling"] == {"temperature": 1.0, "top_p": 0.7, "repetition_penalty": 1.1}
    assert (answer["steering"]["method"], answer["steering"]["layers"]) == ("sampling", [])
    assert [set(vector) for vector in answer["steering"]["vectors"]] == [{"id", "origin"}]
    generation = engine.generations[-1]
    assert (generation.sampling.temperature, generation.sampling.repetition_penalty) == (1.0, 1.1)
    assert not generation.plan.interventions
    calm = ask(client, persona="serious", temperature=0.5, top_p=0.8, steering={"method": "sampling"})
    assert calm["steering"]["sampling"] == {"temperature": 0.2, "top_p": 0.6, "repetition_penalty": 1.1}


@pytest.mark.parametrize("family", ["gpt_oss", "gpt-oss"])  # as transformers has it, and llama.cpp
def test_auto_when_a_gpt_oss_lacks_the_vector_then_sampling_by_another_model_s_strength(
    settings: Settings, family: str
) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious")
    id_ = save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest", model="other", score=0.5)
    with serving(settings, FakeEngine(family=family)) as url, httpx.Client(base_url=url) as client:
        report = ask(client, persona="dishonest")["steering"]
        assert report["method"] == "sampling" and report["sampling"]["temperature"] == 0.85
        assert report["vectors"] == [{"id": id_, "origin": "native", "model": "other"}]
        both = ask(client, persona={"silly": 1.0, "honest": 1.0})["steering"]
        assert both["method"] == "sampling" and both["sampling"]["temperature"] == 0.85
        assert [vector.get("model") for vector in both["vectors"]] == [None, "other"]
        assert ask(client, persona="silly")["steering"]["method"] == "activation"
        error = refused(client, persona="honest", steering={"method": "activation"})
        assert (error["status"], error["code"]) == (400, "vector_unavailable")


@pytest.mark.parametrize("method", ["auto", "activation"])
def test_a_persona_when_the_model_lacks_its_vector_then_400_that_says_what_to_run_and_what_else_would_do(
    settings: Settings, method: str
) -> None:
    save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest", model="other", score=0.5)
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url) as client:
        error = refused(client, persona="honest", steering={"method": method})
        assert (error["status"], error["code"], error["param"]) == (400, "vector_unavailable", "persona")
        assert "persona-proxy extract --model fake --trait dishonest;" in error["message"]
        assert '"method": "sampling"' in error["message"] and '"method": "prompt"' in error["message"]
        # Nothing would tell how strongly to sample for it.
        assert '"method": "sampling"' not in refused(client, persona="silly")["message"]


def test_auto_when_only_a_toy_has_the_vector_then_it_says_nothing_of_a_real_model(settings: Settings) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", model="demo-qwen2")
    with serving(settings, FakeEngine(family="gpt_oss")) as url, httpx.Client(base_url=url) as client:
        assert refused(client, persona="silly")["code"] == "vector_unavailable"


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


def test_tools_when_the_template_has_no_place_for_them_then_it_gets_them_in_words(settings: Settings) -> None:
    engine = FakeEngine(knows_tools=False)
    with serving(settings, engine) as url, httpx.Client(base_url=url) as client:
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        ]
        ask(client, messages=messages, tools=TOOLS)
        system, last, *_ = bytes(engine.generations[-1].prompt).decode().split("\0")
        assert system.startswith("Be brief.\n\nYou can call functions.") and '{"name": "find", "desc' in system
        assert last == "<tool_response>\n42\n</tool_response>"
        ask(client, messages=messages)
        assert bytes(engine.generations[-1].prompt).decode().split("\0")[:2] == ["Be brief.", last]
        ask(client, tools=TOOLS, tool_choice="none")
        assert b"find" not in bytes(engine.generations[-1].prompt)


def test_tools_when_gpt_oss_s_template_has_no_place_for_them_then_it_gets_them_in_its_own_form(
    settings: Settings,
) -> None:
    engine = FakeEngine(knows_tools=False, family="gpt_oss")
    with serving(settings, engine) as url, httpx.Client(base_url=url) as client:
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        ]
        ask(client, messages=messages, tools=TOOLS)
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
        ({"tool_choice": "required"}, ["find", "look"], True, True, "tool_calls"),
        ({"tool_choice": NAMED}, ["look"], True, False, "stop"),
        ({"tool_choice": {"type": "function", "name": "look"}}, ["look"], True, False, "stop"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": ALLOWED}}, ["look"], True, True, "tool_calls"),
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


def test_engine_failure_then_500_once_and_no_detail(client: httpx.Client) -> None:
    response = client.post(URL, json={"model": "fake", "messages": [{"role": "user", "content": "!fail"}]})
    assert response.status_code == 500 and response.json()["error"]["code"] == "engine_failure"
    assert response.headers["x-should-retry"] == "false" and "secret" not in response.text


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
        ({"messages": []}, "messages", "length >= 1"),
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
            {"steering": {"random_direction": 1, "mode": "cap"}},
            "steering.random_direction",
            'steering.mode to be "add"',
        ),
        ({"steering": {"random_direction": 1, "layers": [1]}}, "steering.random_direction", "steering.layers"),
        ({"steering": {"random_direction": 1, "method": "prompt"}}, "steering.random_direction", "steering.method"),
        ({"steering": {"trace": True}}, "steering.trace", "name personas in steering.projection"),
        ({"steering": {"trace": True}, "persona": "silly", "n": 2}, "steering.trace", "n must be 1"),
        ({"steering": {"projection": ["silly"]}}, "steering.projection", "where answers lie that are silly"),
        ({"steering": {"projection": ["honest"]}}, "steering.projection", "extract one of the trait dishonest"),
        ({"steering": {"projection": "silly"}}, "steering.projection", "expected array"),
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


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({}, "none"),
        ({"persona": "silly"}, "activation"),
        ({"persona": "silly", "steering": {"method": "sampling"}}, "sampling"),
        ({"persona": "silly", "steering": {"method": "prompt"}}, "prompt"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_then_a_header_tells_by_which_method(
    client: httpx.Client, fields: dict[str, Any], method: str, stream: bool
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "stream": stream, **fields}
    assert client.post(URL, json=body).headers["x-persona-method"] == method


NUMBER = {"type": "object", "properties": {"<|im_end|>ñ": {"type": "integer"}}}
NAMED_NUMBER = {"type": "json_schema", "json_schema": {"name": "count", "description": "How many", "schema": NUMBER}}


def told(engine: FakeEngine) -> str:
    """The system prompt of the answer that was begun last."""
    return bytes(engine.generations[-1].prompt).decode().split("\0")[0]


def test_a_schema_then_the_model_is_told_of_it_behind_the_system_prompt_unless_that_is_turned_off(
    client: httpx.Client, engine: FakeEngine
) -> None:
    text = json.dumps(NUMBER, ensure_ascii=False, separators=(",", ":"))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    ask(client, messages=messages, response_format=NAMED_NUMBER)
    assert told(engine) == f"Be brief.\n\nGive your answer as JSON that follows this schema:\nHow many\n{text}"
    ask(client, response_format={"type": "json_object", "schema": NUMBER})
    assert told(engine) == f"Give your answer as JSON that follows this schema:\n{text}"
    for fields in (
        {"response_format": NAMED_NUMBER, "include_schema_in_prompt": False},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}, "include_schema_in_prompt": True},
    ):
        ask(client, messages=messages, **fields)
        assert told(engine) == "Be brief."


def test_a_schema_when_it_would_take_more_than_half_of_the_room_then_it_is_not_told(
    client: httpx.Client, engine: FakeEngine
) -> None:
    context = engine.info.context_length
    for length, is_told in ((context // 2 - 100, True), (context // 2, False), (2 * context, False)):
        ask(client, response_format={"type": "json_schema", "schema": {"description": "x" * length}})
        assert bool(told(engine)) == is_told
    # What counts is the room beside the conversation.
    fields: dict[str, Any] = {"response_format": {"type": "json_object", "schema": {"type": "object"}}}
    for length, is_told in ((context // 2, True), (context - 100, False)):
        ask(client, messages=[{"role": "user", "content": "y" * length}], **fields)
        assert bool(told(engine)) == is_told


def test_a_schema_when_the_model_is_gpt_oss_then_it_is_told_in_its_form(settings: Settings) -> None:
    engine = FakeEngine(family="gpt_oss")
    with serving(settings, engine) as url, httpx.Client(base_url=url) as client:
        ask(client, response_format=NAMED_NUMBER)
    text = json.dumps(NUMBER, ensure_ascii=False, separators=(",", ":"))
    assert told(engine) == f"# Response Formats\n\n## count\n\n// How many\n{text}"


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


def test_a_schema_then_the_engine_gets_it_with_its_fields_in_order(client: httpx.Client) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"z": {"type": "null"}, "ä": {"type": "null"}}}
    schema["additionalProperties"] = False
    assert said(ask(client, response_format=as_schema(schema))) == json.dumps(
        schema, ensure_ascii=False, separators=(",", ":")
    )
    opened = {**schema, "additionalProperties": True}
    assert json.loads(said(ask(client, response_format=as_schema(opened)))) == opened
    left_out = {"type": "object", "properties": schema["properties"]}
    assert json.loads(said(ask(client, response_format=as_schema(left_out)))) == schema
    assert said(ask(client, response_format={"type": "json_object"})) == '{"type": "object"}'
    assert said(ask(client, response_format={"type": "json_object", "schema": {"z": 1}})) == '{"z":1}'
    assert said(ask(client, response_format={"type": "json_object", "schema": {}})) == '{"type": "object"}'
    assert said(ask(client, response_format={"type": "json_schema", "schema": {"z": 1}})) == '{"z":1}'
    assert said(ask(client, response_format={"type": "json_object"}, tools=TOOLS, tool_choice="none")).startswith("{")


def test_a_schema_that_can_t_be_followed_then_nothing_is_started(client: httpx.Client, engine: FakeEngine) -> None:
    before = len(engine.generations)
    refused(client, response_format=as_schema({"a": "!impossible"}), stream=True)
    assert len(engine.generations) == before


def test_logprobs_then_an_entry_for_each_token_of_the_content(client: httpx.Client) -> None:
    thought = {"token": "\\xc33", "logprob": -3.0, "bytes": [0xC3, ord("3")]}
    top = [{"token": f"\\xc3{n}", "logprob": -n, "bytes": [0xC3, ord(str(n))]} for n in (1, 2)]
    for n_top, expected in ((2, top), (0, []), (None, [])):
        answer = ask(client, "!think", logprobs=True, top_logprobs=n_top)
        entries = [{**thought, "top_logprobs": expected}] * 3
        assert answer["choices"][0]["logprobs"] == {"content": entries, "refusal": None}
    assert ask(client, logprobs=False, top_logprobs=0)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("header", ["x", "nan", "2.5", ""])
def test_bad_coefficient_header_then_400(client: httpx.Client, header: str) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
    response = client.post(URL, json=body, headers={"X-Persona": "silly", "X-Persona-Coefficient": header})
    assert response.status_code == 400 and response.json()["error"]["param"] == "X-Persona-Coefficient"


def test_unknown_persona_then_404_naming_the_known_ones(client: httpx.Client) -> None:
    for fields in ({"persona": "sily"}, {"model": "fake:sily"}):
        error = refused(client, **fields)
        assert (error["status"], error["code"]) == (404, "persona_not_found")
        assert "silly" in error["message"] and "inattentive" in error["message"]


def test_unknown_model_then_404_naming_the_known_ones(client: httpx.Client) -> None:
    error = refused(client, model="gpt-9")
    assert (error["status"], error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "fake" in error["message"]


def test_no_model_then_the_first_one(client: httpx.Client) -> None:
    assert ask(client, model=None)["model"] == "fake"


def test_persona_without_a_vector_then_400_naming_what_there_is(client: httpx.Client) -> None:
    error = refused(client, persona="honest")
    assert (error["status"], error["code"], error["param"]) == (400, "vector_unavailable", "persona")
    assert "models with this persona: none" in error["message"] and "silly, serious" in error["message"]


def test_prompt_when_too_long_then_context_length_exceeded(client: httpx.Client) -> None:
    for said in ("x" * 600, "x" * 499):
        error = refused(client, messages=[{"role": "user", "content": said}])
        assert (error["status"], error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
        assert "500" in error["message"]


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


def test_words_for_the_template_when_not_a_client_s_then_400_names_them(client: httpx.Client) -> None:
    for name in ("messages", "chat_template", "bos_token"):
        error = refused(client, chat_template_kwargs={name: "x"})
        assert error["status"] == 400 and error["param"] == f"chat_template_kwargs.{name}"


def test_limit_when_there_is_room_then_nothing_is_said_of_it(client: httpx.Client) -> None:
    response = client.post(URL, json={"messages": [{"role": "user", "content": "hello"}], "max_tokens": 400})
    assert "x-max-tokens" not in response.headers and "max_tokens" not in response.json()["steering"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_body_that_is_no_request_then_400(client: httpx.Client, body: bytes) -> None:
    response = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and response.json()["error"]["type"] == "invalid_request_error"

"""Messages and tools as templates take them, and that a template which ignores tools is found out."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.chat.conversation import render, to_messages, to_tools
from proxy.chat.told_tools import told, told_in_harmony
from proxy.engines.transformers.engine import load
from proxy.protocol.chat import ChatMessage, ToolOffer
from proxy.settings import ModelSettings
from tests.engines.tiny_models import save_tiny_model

# What Qwen's and GPT-OSS's templates do with tools, in short.
TOOL_TEMPLATE = (
    "{% for t in tools or [] %}[{{ t.function.name }}: {{ t.function.description + '|' }}"
    "{{ t.function.parameters.properties | tojson }}]{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"
    "{% if m.role == 'tool' %} from {{ m.name }}/{{ m.tool_call_id }}{% endif %}<|im_end|>\n{% endfor %}"
)
NO_CALLS = TOOL_TEMPLATE.replace("{% for c in m.tool_calls or [] %}", "{% for c in [] %}")


def messages(*raw: dict[str, Any]) -> list[ChatMessage]:
    return msgspec.convert(list(raw), list[ChatMessage])


def call(arguments: str, id_: str = "c1", name: str = "find") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


OFFERS = msgspec.convert([{"type": "function", "function": {"name": "find"}}], list[ToolOffer])


@pytest.mark.parametrize(("written", "given"), [('{"a": [1]}', {"a": [1]}), ("", {}), ("{broken", "{broken")])
def test_arguments_when_json_then_templates_get_an_object(written: str, given: Any) -> None:
    [message] = to_messages(messages({"role": "assistant", "tool_calls": [call(written)]}))
    assert message["content"] == "" and message["tool_calls"][0]["function"] == {"name": "find", "arguments": given}


def test_a_result_then_says_which_call_of_which_function_it_answers() -> None:
    calls = [call("{}"), call("{}", "c2", "look")]
    history = messages(
        {"role": "assistant", "content": "Wait.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c2", "content": "4"},
    )
    first, second = to_messages(history)
    assert first["content"] == "Wait."
    assert second == {"role": "tool", "tool_call_id": "c2", "name": "look", "content": "4"}


def test_a_message_without_calls_then_has_no_such_key() -> None:
    assert to_messages(messages({"role": "assistant", "content": "hi", "tool_calls": []})) == [
        {"role": "assistant", "content": "hi"}
    ]


CALLED = {"function": {"name": "find", "arguments": {"a": "b"}}}


def rendered(tmp_path: Path, template: str, history: Sequence[Any], tools: Sequence[ToolOffer]) -> str:
    folder = shutil.copytree(save_tiny_model("qwen2", tmp_path / "plain"), tmp_path / "own")
    (folder / "chat_template.jinja").write_text(template)
    engine = load(ModelSettings("tiny", str(folder)), max_batch=1)
    try:
        ids = render(engine, to_messages(history), to_tools(tools))
    finally:
        engine.close()
    return str(engine._tokenizer.decode(ids))


HISTORY = messages(
    {"role": "user", "content": "hi"},
    {"role": "assistant", "tool_calls": [call('{"a": "b"}')]},
    {"role": "tool", "tool_call_id": "c1", "content": "4"},
)


def test_a_template_of_tools_then_the_model_reads_them_the_calls_and_their_results(tmp_path: Path) -> None:
    text = rendered(tmp_path, TOOL_TEMPLATE, HISTORY, OFFERS)
    assert text.startswith("[find: |{}]") and "4 from find/c1" in text
    assert f"find({json.dumps({'a': 'b'})})" in text


NO_TOOLS = TOOL_TEMPLATE.replace("tools or []", "[]")
REFUSING = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}" + (
    NO_CALLS + "{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "tools"), [(NO_CALLS, OFFERS), (NO_CALLS, []), (NO_TOOLS, OFFERS), (REFUSING, OFFERS)]
)
def test_a_template_when_it_ignores_or_refuses_tools_or_calls_then_it_gets_them_in_words(
    tmp_path: Path, template: str, tools: Sequence[ToolOffer]
) -> None:
    text = rendered(tmp_path, template, HISTORY, tools)
    assert '<tool_call>\n{"name": "find", "arguments": {"a": "b"}}\n</tool_call>' in text
    assert "<tool_response>\n4\n</tool_response>" in text
    assert ("You can call functions." in text) == bool(tools)


def test_results_in_words_when_several_then_in_one_message() -> None:
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    [asked, both] = told([{"role": "user", "content": "hi"}, *results], [])
    assert asked["content"] == "hi" and set(both) == {"role", "content"}
    assert both["content"] == "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"


def test_calls_in_harmony_when_something_is_said_too_then_it_stands_before_them() -> None:
    said = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALLED, CALLED]}
    results = [{"role": "tool", "name": "find", "content": "1"}, {"role": "tool", "name": "find", "content": "2"}]
    answer = {"role": "assistant", "content": "3"}
    [asked, called, last] = told_in_harmony([{"role": "user", "content": "hi"}, said, *results, answer], [])
    call = '<|start|>assistant to=functions.find<|channel|>commentary json<|message|>{"a": "b"}<|call|>'
    result = "<|start|>functions.find to=assistant<|channel|>commentary<|message|>"
    assert asked["content"] == "hi" and last == answer and "tool_calls" not in called
    assert called["content"] == f"Let me see.<|end|>{call}{call}{result}1<|end|>{result}2"

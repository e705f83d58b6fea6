"""Functions, calls and results in words, for chat templates that have no place for them. Pure."""

import json
from collections.abc import Sequence

from proxy.engines.base import Message, Tool

_INTRODUCTION = """\
You can call functions. A call is written in exactly this form, and nothing follows it:
<tool_call>
{"name": "NAME", "arguments": {...}}
</tool_call>
Call a function only where it helps; otherwise answer in plain words. The functions are:"""


def told(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The same conversation with its functions in the system prompt, its calls as their assistant wrote them, and their
    results as a user's message."""
    plain: list[Message] = []
    for message in messages:
        if message["role"] == "tool":
            result = f"<tool_response>\n{message['content']}\n</tool_response>"
            if plain and plain[-1].get("results"):
                plain[-1]["content"] += "\n" + result
            else:
                plain.append({"role": "user", "content": result, "results": True})
        elif calls := message.get("tool_calls"):
            said = [message["content"]] if message["content"] else []
            written = [_written(call["function"]) for call in calls]
            plain.append({"role": "assistant", "content": "\n".join([*said, *written])})
        else:
            plain.append(dict(message))
    plain = [{name: value for name, value in message.items() if name != "results"} for message in plain]
    listed = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    return with_system(plain, "\n".join([_INTRODUCTION, *listed])) if tools else plain


_HARMONY_INTRODUCTION = """\
# Tools

Calls to these functions must go to the commentary channel. Parameters are JSON schemas.

## functions

namespace functions {"""
_HARMONY_END = "\n} // namespace functions"


def told_in_harmony(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The same conversation in GPT-OSS's own form, with its markers: calls and results are messages that stand in the
    content of what comes before them, since the template has no other place."""
    plain: list[Message] = []
    end = ""  # of the message that was written last
    for message in messages:
        calls = message.get("tool_calls", ())
        if message["role"] != "tool" and (message["content"] or not calls or not plain):
            plain.append({name: value for name, value in message.items() if name != "tool_calls"})
            end = "<|end|>"
        for call in calls:
            plain[-1]["content"] += f"{end}<|start|>assistant {_harmony_call(call['function'])}"
            end = "<|call|>"
        if message["role"] == "tool":
            header = f"<|start|>functions.{message['name']} to=assistant<|channel|>commentary<|message|>"
            plain[-1]["content"] += end + header + message["content"]
            end = "<|end|>"
    listed = [_HARMONY_INTRODUCTION, *(_declared(tool["function"]) for tool in tools), _HARMONY_END]
    return with_system(plain, "\n".join(listed)) if tools else plain


def _harmony_call(function: Message) -> str:
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"to=functions.{function['name']}<|channel|>commentary json<|message|>{text}"


def _declared(function: Message) -> str:
    comments = [f"// {line}" for line in str(function["description"]).splitlines()]
    parameters = json.dumps(function["parameters"], ensure_ascii=False)
    return "\n".join(["", *comments, f"type {function['name']} = (_: {parameters}) => any;"])


def _written(function: Message) -> str:
    call = {"name": function["name"], "arguments": function["arguments"]}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def with_system(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages with a text behind everything else that their system prompt says."""
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]

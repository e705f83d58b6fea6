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
    return _with_functions(plain, tools) if tools else plain


def _written(function: Message) -> str:
    call = {"name": function["name"], "arguments": function["arguments"]}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def _with_functions(messages: list[Message], tools: Sequence[Tool]) -> list[Message]:
    listed = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    text = "\n".join([_INTRODUCTION, *listed])
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]

"""A request's messages and tools as chat templates take them, and the making sure that the template heeds them.

Knows nothing of HTTP, personas or vectors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.chat.told_tools import told, told_in_harmony
from proxy.engines.base import Engine, Message, ModelInfo, Tool
from proxy.engines.errors import Refusal
from proxy.engines.text.depth import MAX_DEPTH, too_deep
from proxy.errors import InvalidRequest
from proxy.protocol.chat import ChatMessage, ToolCall, ToolOffer

_RESERVED = frozenset(
    ("messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize", "padding")
    + ("continue_final_message", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs")
    + ("return_assistant_tokens_mask", "bos_token", "eos_token", "pad_token", "unk_token")
)
# Templates know three; "none" is sent to every model by clients that want no reasoning for titles and the like.
_EFFORTS = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}


def to_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """The messages as chat templates take them: text only, with OpenAI's `developer` under its older name `system`,
    which every template knows. InvalidRequest names what can't be read."""
    functions: dict[str, str] = {}  # by the ids of their calls
    rendered = []
    for i, message in enumerate(messages):
        field = f"messages[{i}]"
        message = _modern(message, field, functions)
        entry: Message = {"role": "system" if message.role == "developer" else message.role}
        if message.tool_calls:
            if message.role != "assistant":
                raise InvalidRequest(
                    f"{field}.tool_calls: only an assistant's message has them", param=f"{field}.tool_calls"
                )
            entry["tool_calls"] = [
                _call(call, f"{field}.tool_calls[{number}].function.arguments")
                for number, call in enumerate(message.tool_calls)
            ]
            functions |= {call.id: call.function.name for call in message.tool_calls}
        if reasoning := message.reasoning_content or message.reasoning:
            entry["reasoning_content"] = reasoning
        if message.role == "tool":
            entry |= _answered(message.tool_call_id, functions, f"{field}.tool_call_id")
        entry["content"] = "" if message.content is None and message.tool_calls else _text(message, field)
        rendered.append(entry)
    return rendered


def _modern(message: ChatMessage, field: str, functions: Mapping[str, str]) -> ChatMessage:
    """The message with OpenAI's older form of a call, or of its result, in the newer one."""
    if message.function_call is not None and not message.tool_calls:
        calls = [ToolCall(f"{field}.function_call", message.function_call)]
        return msgspec.structs.replace(message, tool_calls=calls)
    if message.role != "function":
        return message
    ids = [id_ for id_, name in functions.items() if name == message.name]
    if not ids:
        raise InvalidRequest(
            f"{field}.name: no function_call before it is of {message.name!r}; possible: "
            + (", ".join(dict.fromkeys(functions.values())) or "none"),
            param=f"{field}.name",
        )
    return msgspec.structs.replace(message, role="tool", tool_call_id=ids[-1])


@dataclass(frozen=True)
class Begun:
    """What an answer has said before it goes on: nothing, in most."""

    content: str = ""
    reasoning: str = ""


def split_begun(messages: Sequence[ChatMessage]) -> tuple[Sequence[ChatMessage], Begun]:
    """The conversation before its last message, and that message as an answer that is to go on. InvalidRequest where it
    is none."""
    last, field = messages[-1], f"messages[{len(messages) - 1}]"
    if last.role != "assistant" or len(messages) == 1:
        raise InvalidRequest(
            "continue_final_message: it goes on with an assistant's message at the end, behind a user's; "
            f"{field} is not one",
            param="messages",
        )
    if last.tool_calls or last.function_call is not None:
        raise InvalidRequest(f"{field}.tool_calls: a call can't be gone on with", param=f"{field}.tool_calls")
    content = "" if last.content is None else _text(last, field)
    return messages[:-1], Begun(content, last.reasoning_content or last.reasoning or "")


def _call(call: ToolCall, field: str) -> dict[str, Any]:
    """Templates write arguments as JSON themselves. What a model wrote that is no JSON is handed on as it is."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except ValueError:
        arguments = call.function.arguments
    except RecursionError:
        raise _too_deep(field) from None
    _check_depth(arguments, field)
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}


def _answered(call_id: str | None, functions: dict[str, str], field: str) -> Message:
    """Which call a tool's message answers; some templates want its id, others its function."""
    if call_id not in functions:
        possible = ", ".join(functions) or "none, since no message before it has tool_calls"
        raise InvalidRequest(
            f"{field}: {call_id!r} is not the id of a call before it; possible: {possible}", param=field
        )
    return {"tool_call_id": call_id, "name": functions[call_id]}


def _text(message: ChatMessage, field: str) -> str:
    if message.content is None:
        raise InvalidRequest(f"{field}.content is missing; possible: text", param=f"{field}.content")
    if isinstance(message.content, str):
        return message.content
    texts = []
    for i, part in enumerate(message.content):
        if part.type != "text" or part.text is None:
            where = f"{field}.content[{i}]"
            raise InvalidRequest(
                f'{where}: a part of type {part.type!r} can\'t be read; possible: {{"type": "text", "text": "..."}}',
                param=f"{where}.type",
            )
        texts.append(part.text)
    return "\n".join(texts)


def _check_depth(value: Any, field: str) -> None:
    """InvalidRequest for JSON that is nested too deeply."""
    if too_deep(value):
        raise _too_deep(field)


def _too_deep(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: it is nested too deeply; possible: up to {MAX_DEPTH} levels", param=field)


def template_options(reasoning_effort: str | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What else chat templates get to see. InvalidRequest names a word that is not for clients to set."""
    for name in kwargs:
        if name in _RESERVED:
            field = f"chat_template_kwargs.{name}"
            raise InvalidRequest(f"{field} is not a client's to set; possible: enable_thinking and others", param=field)
    if reasoning_effort is None:
        return dict(kwargs)
    effort = _EFFORTS.get(reasoning_effort, reasoning_effort)
    return {"reasoning_effort": effort, "enable_thinking": reasoning_effort != "none", **kwargs}


def to_tools(offers: Sequence[ToolOffer]) -> list[Tool]:
    """The functions as chat templates take them. Some fail where description or parameters are missing. InvalidRequest
    names what is nested too deeply."""
    for number, offer in enumerate(offers):
        _check_depth(offer.function.parameters, f"tools[{number}].function.parameters")
    return [
        {
            "type": "function",
            "function": {
                "name": offer.function.name,
                "description": offer.function.description or "",
                "parameters": offer.function.parameters or {"type": "object", "properties": {}},
            },
        }
        for offer in offers
    ]


def render(
    engine: Engine, messages: Sequence[Message], tools: Sequence[Tool], options: Mapping[str, Any] | None = None
) -> list[int]:
    """The prompt's token ids. What the template has no place for of functions and calls is told in words, or in
    GPT-OSS's own form. Refusal when the template refuses the conversation."""
    called = any(message["role"] == "tool" or "tool_calls" in message for message in messages)
    if not tools and not called:
        return engine.render(messages, options=options)
    try:
        prompt = engine.render(messages, tools=tools or None, options=options)
        if not _ignores(engine, prompt, messages, tools, options):
            return prompt
    except Refusal:
        pass
    reword = told_in_harmony if is_gpt_oss(engine.info) else told
    return engine.render(messages, tools=tools, options=options, reword=reword)


def is_gpt_oss(info: ModelInfo) -> bool:
    """Whether it is a GPT-OSS model; transformers and llama.cpp spell that differently."""
    return info.family.replace("_", "-") == "gpt-oss"


def _ignores(
    engine: Engine,
    prompt: Sequence[int],
    messages: Sequence[Message],
    tools: Sequence[Tool],
    options: Mapping[str, Any] | None,
) -> bool:
    """Whether a template makes nothing of tools or calls: then the prompt is the same without."""
    if tools and prompt == engine.render(messages, options=options):
        return True
    if not any("tool_calls" in message for message in messages):
        return False
    other = [_with_other_names(message) for message in messages]
    return prompt == engine.render(other, tools=tools or None, options=options)


def _with_other_names(message: Message) -> Message:
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "name": call["function"]["name"] + "_"}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}

"""A Responses request as a chat request, and what of it comes back in its response. Knows nothing of HTTP or models."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from proxy.chat.responses.conversation import to_messages
from proxy.chat.stream import Head
from proxy.engines.base import Sampling
from proxy.errors import InvalidRequest
from proxy.protocol.chat import (
    ChatRequest,
    Function,
    FunctionName,
    JsonSchema,
    RequestMetadata,
    ResponseFormat,
    ToolOffer,
)
from proxy.protocol.responses import (
    LOGPROBS,
    FunctionTool,
    OfferedTool,
    ReasoningOptions,
    ResponseObject,
    ResponseRequest,
    TextFormat,
    TextOptions,
)

# Fields that mean the same in both.
_SAME = (
    *("model", "stream", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "seed"),
    *("repetition_penalty", "logit_bias", "stop", "user", "chat_template_kwargs", "parallel_tool_calls"),
    *("continue_final_message", "add_generation_prompt", "include_schema_in_prompt"),
    *("persona", "coefficient", "steering"),
)
_NAMES = {
    "messages": "input",
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "logprobs": "include",
    "reasoning_effort": "reasoning.effort",
}
_POSSIBLE = (
    '"none", "auto", "required", {"type": "function", "name": ...} or '
    '{"type": "allowed_tools", "mode": "auto" or "required", "tools": [...]}'
)


class _Choice(msgspec.Struct):
    """A tool_choice that is an object."""

    type: Literal["function", "allowed_tools"]
    name: str | None = None
    mode: Literal["auto", "required"] = "auto"
    tools: list[dict[str, Any]] | None = None


def to_chat(data: ResponseRequest) -> tuple[ChatRequest, dict[str, str]]:
    """The request as a chat, and where its fields stand in `data`, by their beginnings. InvalidRequest."""
    if data.input is None:
        possible = "text, or a list of items"
        raise InvalidRequest(
            f"input: it is required; possible: {possible}", param="input", code="missing_required_parameter"
        )
    messages, names = to_messages(data.input, data.instructions)
    offers, tool_names = _offers(data.tools or ())
    logprobs = LOGPROBS in (data.include or ())
    chat = ChatRequest(
        messages=messages,
        max_completion_tokens=data.max_output_tokens,
        metadata=RequestMetadata((data.metadata or {}).get("persona")),
        reasoning_effort=None if data.reasoning is None else data.reasoning.effort,
        tools=offers or None,
        tool_choice=_choice(data.tool_choice),
        response_format=_format(data.text.format) if data.text and data.text.format else None,
        logprobs=logprobs or None,
        top_logprobs=data.top_logprobs if logprobs else None,
        **{name: getattr(data, name) for name in _SAME},
    )
    return chat, _NAMES | names | tool_names


def _offers(tools: Sequence[OfferedTool]) -> tuple[list[ToolOffer], dict[str, str]]:
    """The functions; tools of other types are OpenAI's to run, or the client's in forms no model here writes."""
    offers: list[ToolOffer] = []
    names = {}
    for number, tool in enumerate(tools):
        if tool.type != "function":
            continue
        field = f"tools[{number}]"
        try:
            name = msgspec.convert(tool.name, FunctionName)
        except msgspec.ValidationError:
            possible = "up to 64 letters, digits, dots, - and _"
            raise InvalidRequest(f"{field}.name: possible: {possible}", param=f"{field}.name") from None
        names[f"tools[{len(offers)}].function"] = field
        offers.append(ToolOffer("function", Function(name, tool.description, tool.parameters, tool.strict)))
    return offers, names


def _choice(given: Any) -> Any:
    """The tool_choice as a chat has it."""
    if given in (None, "none", "auto", "required"):
        return given
    try:
        choice = msgspec.convert(given, _Choice)
    except msgspec.ValidationError:
        raise _unknown_choice() from None
    if choice.type == "function":
        if choice.name is None:
            raise _unknown_choice()
        return {"type": "function", "name": choice.name}
    if choice.tools is None:
        raise _unknown_choice()
    functions = [tool for tool in choice.tools if tool.get("type") == "function"]
    if not all(isinstance(tool.get("name"), str) for tool in functions):
        raise _unknown_choice()
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": functions}}


def _unknown_choice() -> InvalidRequest:
    return InvalidRequest(f"tool_choice: possible: {_POSSIBLE}", param="tool_choice")


def _format(wanted: TextFormat) -> ResponseFormat:
    if wanted.type != "json_schema":
        return ResponseFormat(wanted.type, schema=wanted.schema)
    for field, value in (("name", wanted.name), ("schema", wanted.schema)):
        if value is None:
            where = f"text.format.{field}"
            raise InvalidRequest(f"{where}: it is required with the type json_schema", param=where)
    assert wanted.name is not None and wanted.schema is not None
    return ResponseFormat("json_schema", JsonSchema(wanted.name, wanted.schema, wanted.description, wanted.strict))


def begun_response(data: ResponseRequest, chat: ChatRequest, head: Head, sampling: Sampling) -> ResponseObject:
    """The response as it is before its answer begins. `sampling`: how the answer is drawn."""
    text = data.text or TextOptions()
    return ResponseObject(
        id=head.id,
        created_at=head.created,
        instructions=data.instructions,
        max_output_tokens=data.max_output_tokens,
        max_tool_calls=data.max_tool_calls,
        metadata=data.metadata or {},
        model=head.model,
        output=[],
        parallel_tool_calls=data.parallel_tool_calls is not False,
        prompt_cache_key=data.prompt_cache_key,
        reasoning=data.reasoning or ReasoningOptions(),
        safety_identifier=data.safety_identifier,
        temperature=sampling.temperature,
        text=TextOptions(text.format or TextFormat("text"), text.verbosity or "medium"),
        tool_choice="auto" if data.tool_choice is None else data.tool_choice,
        tools=[_told(offer.function) for offer in chat.tools or ()],
        top_logprobs=data.top_logprobs or 0,
        top_p=sampling.top_p,
        user=data.user,
    )


def _told(function: Function) -> FunctionTool:
    return FunctionTool(function.name, function.description, function.parameters, bool(function.strict))

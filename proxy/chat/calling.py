"""What a request says of calling functions: which, whether it must, how many, and how its answer then ends.

OpenAI's older `functions` and `function_call` are read as the newer fields. Knows nothing of HTTP or models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from proxy.chat.conversation import to_tools
from proxy.chat.schemas import closed
from proxy.engines.base import CallableFunction, CallRules, Tool
from proxy.errors import InvalidRequest
from proxy.protocol.chat import ChatRequest, FinishReason, ToolOffer

_POSSIBLE = (
    '"none", "auto", "required", {"type": "function", "function": {"name": ...}} or '
    '{"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": [...]}}'
)


@dataclass(frozen=True)
class Calling:
    """The functions offered to the model, and the rules of calling them: None where none may be called. `ending` is the
    finish reason of an answer that ends with a call; `legacy`: it is told in OpenAI's older form."""

    tools: Sequence[Tool] = ()
    rules: CallRules | None = None
    ending: FinishReason = "tool_calls"
    legacy: bool = False


NO_CALLS = Calling()


class _Named(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    """A tool_choice that is an object; OpenAI's Responses name a function beside `type`."""

    type: Literal["function", "allowed_tools"]
    function: _Named | None = None
    name: str | None = None
    allowed_tools: "_Allowed | None" = None


class _Allowed(msgspec.Struct):
    tools: list[_Choice]
    mode: Literal["auto", "required"] = "auto"


@dataclass(frozen=True)
class _Wanted:
    needed: bool = False
    names: Sequence[str] | None = None
    named: bool = False


def asked_calls(data: ChatRequest) -> Calling:
    """InvalidRequest for a choice that can't be made of what is offered."""
    legacy = bool(data.functions)
    if legacy and data.tools:
        raise InvalidRequest("functions: tools are given too; give one of them", param="functions")
    offers = [ToolOffer("function", each) for each in data.functions or ()] or data.tools or []
    field, choice = ("function_call", data.function_call) if legacy else ("tool_choice", data.tool_choice)
    if choice == "none":
        return Calling()
    wanted = _legacy_choice(choice) if legacy else _choice(choice)
    offers = _chosen(offers, wanted, field)
    if not offers:
        if wanted.needed:
            raise InvalidRequest(f"{field}: there are no tools to call; possible: none, auto", param=field)
        return Calling()
    # A small model that has to call, and may call on, writes the same call again and again.
    asked = not wanted.needed if data.parallel_tool_calls is None else data.parallel_tool_calls
    several = asked and not (wanted.named or legacy)
    ending: FinishReason = "stop" if wanted.named else "function_call" if legacy else "tool_calls"
    tools = to_tools(offers)  # names what is nested too deeply to go through
    return Calling(tools, CallRules(tuple(map(_callable, offers)), wanted.needed, several), ending, legacy)


def _callable(offer: ToolOffer) -> CallableFunction:
    parameters: Mapping[str, Any] = offer.function.parameters or {"type": "object", "properties": {}}
    schema = msgspec.json.encode(closed(parameters)).decode()
    return CallableFunction(offer.function.name, schema, bool(offer.function.strict))


def _chosen(offers: Sequence[ToolOffer], wanted: _Wanted, field: str) -> list[ToolOffer]:
    if wanted.names is None:
        return list(offers)
    known = [offer.function.name for offer in offers]
    for name in wanted.names:
        if name not in known:
            possible = ", ".join(known) or "none, since there are no tools"
            raise InvalidRequest(f"{field}: no function is called {name!r}; possible: {possible}", param=field)
    return [offer for offer in offers if offer.function.name in wanted.names]


def _choice(choice: Any) -> _Wanted:
    if choice in (None, "auto", "required"):
        return _Wanted(needed=choice == "required")
    try:
        read = msgspec.convert(choice, _Choice)
    except msgspec.ValidationError:
        raise _unknown("tool_choice") from None
    if read.type == "function":
        return _Wanted(True, [_name(read)], named=True)
    if read.allowed_tools is None:
        raise _unknown("tool_choice")
    return _Wanted(read.allowed_tools.mode == "required", [_name(tool) for tool in read.allowed_tools.tools])


def _name(choice: _Choice) -> str:
    name = choice.name if choice.function is None else choice.function.name
    if name is None:
        raise _unknown("tool_choice")
    return name


def _legacy_choice(choice: Any) -> _Wanted:
    if choice in (None, "auto"):
        return _Wanted()
    try:
        return _Wanted(True, [msgspec.convert(choice, _Named).name], named=True)
    except msgspec.ValidationError:
        possible = '"none", "auto" or {"name": ...}'
        raise InvalidRequest(f"function_call: possible: {possible}", param="function_call") from None


def _unknown(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: possible: {_POSSIBLE}", param=field)

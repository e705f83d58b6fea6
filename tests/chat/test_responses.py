"""Responses as another form of a chat: the items of a request as messages, and answers as events in good order."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy.chat.responses.events import ResponseSequence
from proxy.chat.responses.request import begun_response, to_chat
from proxy.chat.stream import GrowingChoice, Head
from proxy.engines.base import Finish, Sampling, Token
from proxy.errors import EngineFailure, InvalidRequest
from proxy.protocol.chat import ChatRequest
from proxy.protocol.responses import ResponseRequest
from proxy.protocol.steering import UNSTEERED

HEAD = Head("resp_1", 1700000000, "fake", "fp_1", prompt_tokens=7, steering=UNSTEERED)
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
DELTAS = ("response.output_text.delta", "response.reasoning_text.delta", "response.function_call_arguments.delta")


def chat(**fields: Any) -> ChatRequest:
    return to_chat(msgspec.convert({"input": "hi", **fields}, ResponseRequest))[0]


def messages(items: list[Any], **fields: Any) -> list[dict[str, Any]]:
    given = chat(input=items, **fields).messages
    return [{name: value for name, value in msgspec.to_builtins(each).items() if value} for each in given]


def call(id_: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_, "name": "find", "arguments": "{}", **fields}


def output(id_: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": [{"type": "input_text", "text": id_}]}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def called(*ids: str) -> list[dict[str, Any]]:
    return [{"id": id_, "function": {"name": "find", "arguments": "{}"}, "type": "function"} for id_ in ids]


def test_items_when_an_answer_came_in_several_then_they_are_one_message_with_its_reasoning() -> None:
    items = [{"role": "user", "content": "a"}, thought("t"), said("s"), call("1"), call("2"), output("1"), output("2")]
    assert messages(items) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "s", "reasoning_content": "t", "tool_calls": called("1", "2")},
        {"role": "tool", "content": "1", "tool_call_id": "1"},
        {"role": "tool", "content": "2", "tool_call_id": "2"},
    ]


def test_items_when_reasoning_comes_before_a_call_alone_then_it_is_the_calls() -> None:
    items = [{"role": "user", "content": "a"}, thought("t"), call("1"), output("1"), said("s")]
    assert [message.get("reasoning_content") for message in messages(items)] == [None, "t", None, None]


def test_items_when_reasoning_is_hidden_or_nothing_follows_it_then_dropped() -> None:
    hidden = {"type": "reasoning", "summary": [], "encrypted_content": "x"}
    items = [thought("t"), {"role": "user", "content": "a"}, hidden, said("s"), thought("t")]
    assert messages(items) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "s"}]


def test_instructions_when_system_messages_follow_then_they_are_one_system_prompt() -> None:
    items = [
        {"role": "developer", "content": "b"},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "c"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "d"}, {"type": "input_text", "text": "e"}]},
        {"role": "developer", "content": "f"},
    ]
    assert messages(items, instructions="a") == [
        {"role": "system", "content": "a\n\nb\n\nc"},
        {"role": "user", "content": "d\ne"},
        {"role": "system", "content": "f"},
    ]


@pytest.mark.parametrize("given", ["", []])
def test_input_when_empty_then_an_empty_message_of_the_users(given: Any) -> None:
    assert msgspec.to_builtins(chat(input=given).messages[0])["role"] == "user"


def test_fields_when_they_have_other_names_then_the_chats() -> None:
    asked = chat(
        max_output_tokens=9,
        reasoning={"effort": "high", "summary": "auto"},
        metadata={"persona": "silly", "a": "b"},
        top_logprobs=2,
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        tools=[
            {"type": "web_search"},
            {"type": "custom", "name": "not a function's"},
            {"type": "function", "name": "f"},
        ],
        seed=1,
        persona="silly",
    )
    assert (asked.max_completion_tokens, asked.reasoning_effort, asked.logprobs, asked.top_logprobs) == (
        9,
        "high",
        True,
        2,
    )
    assert asked.metadata is not None and asked.metadata.persona == "silly"
    assert asked.response_format is not None and asked.response_format.json_schema is not None
    assert asked.response_format.json_schema.schema == {"type": "object"}
    assert [offer.function.name for offer in asked.tools or ()] == ["f"] and (asked.seed, asked.persona) == (1, "silly")
    assert chat(top_logprobs=2).logprobs is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        ),
    ],
)
def test_tool_choice_then_the_chats(given: Any, wanted: Any) -> None:
    assert chat(tool_choice=given).tool_choice == wanted


@pytest.mark.parametrize(
    "given",
    [
        "any",
        1,
        {},
        {"type": "web_search"},
        {"type": "function"},
        {"type": "allowed_tools"},
        {"type": "custom", "name": "f"},
    ]
    + [{"type": "allowed_tools", "tools": [{"type": "function", "name": 1}]}],
)
def test_tool_choice_when_it_is_none_then_told_what_is_possible(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="possible") as caught:
        chat(tool_choice=given)
    assert caught.value.param == "tool_choice"


def sequence(choice: GrowingChoice) -> ResponseSequence:
    request = ResponseRequest(input="hi")
    begun = begun_response(request, to_chat(request)[0], HEAD, Sampling(max_tokens=9))
    return ResponseSequence(begun, HEAD, choice, clock=lambda: 1700000001.0, names={"messages": "input"})


TOKENS = st.one_of(
    st.builds(
        lambda text, channel: Token(1, text, channel),
        st.text("ab", max_size=3),
        st.sampled_from(["content", "reasoning"]),
    ),
    st.builds(lambda text: Token(2, text, "arguments", opens="find"), st.sampled_from(["", "{}"])),
)


@st.composite
def answers(draw: st.DrawFn) -> list[Token | Finish]:
    """Tokens of any channel in any order, but that a call's arguments go on only while nothing else is said."""
    tokens: list[Token | Finish] = []
    for token in draw(st.lists(TOKENS, max_size=12)):
        tokens.append(token)
        if token.channel == "arguments":
            tokens += [Token(3, text, "arguments") for text in draw(st.lists(st.text("{}", max_size=2), max_size=3))]
    return [*tokens, Finish(draw(st.sampled_from(["stop", "length"])))]


@settings(max_examples=60)
@given(answers())
def test_events_then_each_item_is_opened_grown_and_closed_in_order_and_all_are_in_the_response(
    events: list[Token | Finish],
) -> None:
    choice = GrowingChoice(tools=True)
    telling = sequence(choice)
    told = [*telling.opening(), *(each for event in events for each in telling.feed(0, event)), *telling.closing()]
    wire = [msgspec.to_builtins(each) for each in told]
    for each in wire:
        EVENTS.validate_python(each, strict=True)
    assert [each["sequence_number"] for each in wire] == list(range(len(wire)))
    assert [each["type"] for each in wire[:2]] == ["response.created", "response.in_progress"]
    done = check_items(wire[2:-1])
    last = wire[-1]
    ending = "incomplete" if events[-1] == Finish("length") else "completed"
    assert last["type"] == f"response.{ending}" and last["response"]["status"] == ending
    assert last["response"]["output"] == done
    assert all(item["status"] == "completed" for item in done[:-1]) and (not done or done[-1]["status"] == ending)
    texts = {"message": "", "reasoning": ""}
    for item in done:
        for part in item.get("content", ()):
            texts[item["type"]] += part["text"]
    assert texts == {"message": choice.content, "reasoning": choice.reasoning}
    calls = [(item["name"], item["arguments"]) for item in done if item["type"] == "function_call"]
    assert calls == [(each.name, each.arguments) for each in choice.calls]
    assert done or ending == "incomplete"
    whole = GrowingChoice(tools=True)
    untold = sequence(whole)
    for event in events:
        untold.grow(event)
    assert msgspec.to_builtins(untold.response()) == last["response"]
    Response.model_validate(last["response"], strict=True)


def check_items(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that events told of, each opened, grown and closed before the next."""
    done: list[dict[str, Any]] = []
    while events:
        added, events = events[0], events[1:]
        assert added["type"] == "response.output_item.added" and added["item"]["status"] == "in_progress"
        end = next(place for place, each in enumerate(events) if each["type"] == "response.output_item.done")
        inside, closed, events = events[:end], events[end], events[end + 1 :]
        item = closed["item"]
        for each in (added, *inside, closed):
            assert each["output_index"] == len(done)
            assert each.get("item_id", item["id"]) == item["id"]
        assert added["item"]["id"] == item["id"]
        deltas = "".join(each["delta"] for each in inside if each["type"] in DELTAS)
        if item["type"] == "function_call":
            assert inside.pop()["arguments"] == item["arguments"] == deltas
        else:
            first, *inside, text_done, part_done = inside
            assert first["type"] == "response.content_part.added" and first["part"]["text"] == ""
            assert part_done["type"] == "response.content_part.done" and item["content"] == [part_done["part"]]
            assert text_done["text"] == part_done["part"]["text"] == deltas
        assert {each["type"] for each in inside} <= set(DELTAS)
        done.append(item)
    return done


def test_events_when_the_model_fails_then_an_error_the_sdks_raise_and_a_response_that_failed() -> None:
    telling = sequence(GrowingChoice())
    told = [
        *telling.opening(),
        *telling.feed(0, Token(1, "a")),
        *telling.failing(EngineFailure("broke", param="messages")),
    ]
    error, failed = [msgspec.to_builtins(each) for each in told[-2:]]
    assert error["type"] == "error" and error["param"] == "input"
    assert error["message"] == error["error"]["message"] == "broke"
    assert failed["response"]["status"] == "failed" and failed["response"]["error"]["code"] == "server_error"
    assert failed["response"]["output"][0]["status"] == "incomplete" and failed["sequence_number"] == len(told) - 1
    for each in (error, failed):
        EVENTS.validate_python(each, strict=True)

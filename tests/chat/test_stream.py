"""What reaches a client of a generation: every character up to a stop string, in chunks the OpenAI SDKs understand."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.stream import ChunkSequence, GrowingChoice, Head, StopFilter, completion, failure, frame
from proxy.engines.base import Finish, Token
from proxy.errors import EngineFailure
from proxy.protocol.chat import ChatChunk
from proxy.protocol.steering import UNSTEERED

HEAD = Head("chatcmpl-1", 1700000000, "fake", "fp_1", prompt_tokens=7, steering=UNSTEERED)

# Few letters, so that stop strings occur, overlap and begin again inside one another.
TEXTS = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


@st.composite
def split_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return text, [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def expected(text: str, stops: list[str]) -> str:
    """Read character by character: the text before the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - len(max(found, key=len))]
    return text


@given(split_texts(), STOPS)
def test_stop_filter_when_text_is_split_anywhere_then_same_text_comes_out(
    split: tuple[str, list[str]], stops: list[str]
) -> None:
    text, parts = split
    gate = StopFilter(stops)
    shown = "".join(gate.feed(part) for part in parts)
    assert not any(stop in shown for stop in stops)
    shown += "" if gate.stopped else gate.flush()
    assert shown == expected(text, stops)


@given(split_texts(), STOPS)
def test_stop_filter_when_nothing_can_become_a_stop_then_nothing_is_held(
    split: tuple[str, list[str]], stops: list[str]
) -> None:
    gate, fed, shown = StopFilter(stops), "", ""
    for part in split[1]:
        fed += part
        shown += gate.feed(part)
        held = fed[len(shown) :]
        if not gate.stopped:
            assert held == "" or any(stop.startswith(held) for stop in stops)


def events(*texts: str, reason: Literal["stop", "length"] = "stop") -> list[Token | Finish]:
    return [*(Token(1, text) for text in texts), Finish(reason)]


def chunks_of(
    answers: list[GrowingChoice], fed: Sequence[tuple[int, Token | Finish]], *, include_usage: bool = False
) -> list[ChatChunk]:
    sequence = ChunkSequence(HEAD, answers, include_usage=include_usage)
    middle = [chunk for index, event in fed for chunk in sequence.feed(index, event)]
    return [*sequence.opening(), *middle, *sequence.closing()]


@given(split_texts(), STOPS)
def test_chunks_when_streamed_then_deltas_add_up_to_the_unstreamed_answer(
    split: tuple[str, list[str]], stops: list[str]
) -> None:
    fed = events(*split[1])
    chunks = chunks_of([GrowingChoice(stops)], [(0, event) for event in fed])
    whole = GrowingChoice(stops)
    for event in fed:
        whole.feed(event)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.content
    assert [chunk.choices[0].finish_reason for chunk in chunks].count("stop") == 1
    assert chunks[-1].choices[0].finish_reason == "stop"


def decoded(chunk: ChatChunk) -> dict[str, Any]:
    data = frame(chunk)
    assert data.startswith(b"data: {") and data.endswith(b"}\n\n")
    body: dict[str, Any] = msgspec.json.decode(data.removeprefix(b"data: "))
    return body


def test_chunks_when_streamed_then_role_comes_first_and_once() -> None:
    first, *rest = [
        decoded(chunk) for chunk in chunks_of([GrowingChoice()], [(0, event) for event in events("a", "b")])
    ]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert not any("role" in chunk["choices"][0]["delta"] for chunk in rest)


def test_chunks_when_finished_then_the_finish_chunk_is_empty_and_carries_the_report() -> None:
    *others, last = [decoded(chunk) for chunk in chunks_of([GrowingChoice()], [(0, event) for event in events("a")])]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}]
    assert last["steering"]["method"] == "none"
    assert not any("steering" in chunk or "usage" in chunk for chunk in others)


def test_chunks_when_usage_is_asked_for_then_it_comes_last_and_alone() -> None:
    fed = [(0, event) for event in events("a", "b")]
    *others, last = [decoded(chunk) for chunk in chunks_of([GrowingChoice()], fed, include_usage=True)]
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert all(chunk["usage"] is None for chunk in others)


def test_chunks_when_two_choices_interleave_then_indices_open_in_order() -> None:
    fed: list[tuple[int, Token | Finish]] = [
        (1, Token(1, "x")),
        (0, Token(1, "y")),
        (1, Finish("length")),
        (0, Finish("stop")),
    ]
    chunks = chunks_of([GrowingChoice(), GrowingChoice()], fed)
    assert [chunk.choices[0].index for chunk in chunks] == [0, 1, 1, 0, 1, 0]


def test_answer_when_a_stop_string_is_complete_then_it_is_over() -> None:
    answer = GrowingChoice(["\n"])
    for event in events("one", "\n", "two", reason="length"):
        answer.feed(event)
    assert (answer.content, answer.finish_reason, answer.tokens) == ("one", "stop", 2)


def test_answer_when_it_ends_on_half_a_stop_string_then_that_half_is_shown() -> None:
    answer = GrowingChoice(["END"])
    for event in events("an E", "N"):
        answer.feed(event)
    assert answer.content == "an EN"


def test_reasoning_when_streamed_then_under_both_names_and_not_in_the_content() -> None:
    fed = [(0, event) for event in (Token(1, "think.", "reasoning"), *events("say."))]
    answer = GrowingChoice(["."])
    thought = decoded(chunks_of([answer], fed)[1])["choices"][0]["delta"]
    assert thought == {"reasoning_content": "think.", "reasoning": "think."}
    message = msgspec.to_builtins(completion(HEAD, [answer]))["choices"][0]["message"]
    assert (message["content"], message["reasoning"], message["reasoning_content"]) == ("say", "think.", "think.")


def test_message_when_nothing_was_reasoned_then_has_no_reasoning() -> None:
    answer = GrowingChoice()
    for event in events("a"):
        answer.feed(event)
    message = msgspec.to_builtins(completion(HEAD, [answer]))["choices"][0]["message"]
    assert message == {"content": "a", "role": "assistant", "refusal": None}


CALLED: list[Token | Finish] = [
    Token(1, "", "arguments", opens="f"),
    Token(2, "{}", "arguments"),
    Token(3, "[]", "arguments", opens="g"),
]


def test_message_when_only_functions_were_called_then_its_content_is_null() -> None:
    answer = GrowingChoice(tools=True)
    for event in (*CALLED, Finish("stop")):
        answer.feed(event)
    [choice] = msgspec.to_builtins(completion(HEAD, [answer]))["choices"]
    assert choice["message"] == {
        "content": None,
        "role": "assistant",
        "refusal": None,
        "tool_calls": [
            {"id": "call_1_0_0", "function": {"name": "f", "arguments": "{}"}, "type": "function"},
            {"id": "call_1_0_1", "function": {"name": "g", "arguments": "[]"}, "type": "function"},
        ],
    }
    assert choice["finish_reason"] == "tool_calls"


def test_calls_when_cut_off_then_the_reason_is_length() -> None:
    answer = GrowingChoice(tools=True)
    for event in (*CALLED[:1], Finish("length")):
        answer.feed(event)
    assert answer.finish_reason == "length" and len(answer.calls) == 1


def test_error_in_a_stream_carries_an_object_not_text() -> None:
    body = msgspec.json.decode(frame(failure(EngineFailure("broke"))).removeprefix(b"data: "))
    assert body["error"]["message"] == "broke" and body["error"]["code"] == "engine_failure"

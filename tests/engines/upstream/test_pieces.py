"""What is sent to other servers, and how their streams are read: by the words of several makes."""

import asyncio
import json
import math
from typing import Any

import httpx
import pytest

from proxy.engines.base import (
    NO_LIMIT,
    CallableFunction,
    CallRules,
    Counted,
    Finish,
    Generation,
    Message,
    Sampling,
    Spelling,
    Talk,
    Token,
)
from proxy.engines.errors import Refusal, UpstreamFailure
from proxy.engines.upstream.body import body_of
from proxy.engines.upstream.checks import Checks
from proxy.engines.upstream.events import CutShort, Frames, Reader, StreamError
from proxy.engines.upstream.replica import Replica

HELLO: list[Message] = [{"role": "user", "content": "hello"}]


def sent(
    sampling: Sampling | None = None, maker: str = "", calls: CallRules | None = None, **talk: Any
) -> dict[str, Any]:
    talk.setdefault("messages", HELLO)
    return body_of("big", Generation((), sampling or Sampling(NO_LIMIT), calls=calls, talk=Talk(**talk)), maker)


def read(*chunks: Any) -> tuple[list[Token], Finish]:
    reader = Reader(Spelling())
    tokens = [token for chunk in chunks for token in reader.feed(json.dumps(chunk).encode())]
    return tokens, reader.finish()


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def test_body_when_nothing_is_asked_for_then_openais_fields_alone() -> None:
    assert sent() == {
        "model": "big",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": HELLO,
        "temperature": 1.0,
        "top_p": 1.0,
    }


def test_body_when_servers_spell_it_otherwise_then_as_they_do() -> None:
    sampling = Sampling(9, repetition_penalty=1.5)
    assert (sent(sampling)["repetition_penalty"], sent(sampling)["max_tokens"]) == (1.5, 9)
    assert sent(sampling, "llamacpp")["repeat_penalty"] == 1.5
    assert sent(sampling, "system")["max_completion_tokens"] == 9
    schema = Sampling(9, json_schema='{"type": "array"}')
    assert "include_schema_in_prompt" not in sent(schema, "vllm")
    assert sent(schema, "persona-proxy")["include_schema_in_prompt"] is False
    with pytest.raises(Refusal, match="go on"):
        sent(maker="llamacpp", content="I say ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reasoning_effort": "low", "enable_thinking": True}, {"reasoning_effort": "low"}),
        (
            {"reasoning_effort": "low", "enable_thinking": False},
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}},
        ),
        ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
    ids=str,
)
def test_body_when_the_template_has_options_then_the_effort_is_openais_field(
    options: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = sent(options=options)
    assert {name: body[name] for name in body if name in ("reasoning_effort", "chat_template_kwargs")} == expected


def test_body_when_functions_may_be_called_then_openais_choice() -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b")]
    both = tuple(CallableFunction(name, "{}", strict=name == "b") for name in ("a", "b"))
    free = sent(calls=CallRules(both), tools=tools)
    assert (free["tool_choice"], free["parallel_tool_calls"]) == ("auto", True)
    assert [tool["function"].get("strict") for tool in free["tools"]] == [None, True]
    assert sent(calls=CallRules(both, needed=True), tools=tools)["tool_choice"] == "required"
    one = sent(calls=CallRules(both[:1], needed=True, several=False), tools=tools[:1])
    assert one["tool_choice"] == {"type": "function", "function": {"name": "a"}}
    assert one["parallel_tool_calls"] is False
    assert "tools" not in sent(tools=tools)


def test_frames_when_bytes_come_in_any_pieces_then_each_line_of_data_once() -> None:
    text = ': ping\r\n\r\ndata: {"a": "\u2028é"}\r\n\r\nevent: x\ndata:[DONE]\n\n'.encode()
    for size in (1, 7, len(text)):
        frames = Frames()
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        assert [frame for part in parts for frame in frames.feed(part)] == ['{"a": "\u2028é"}'.encode(), b"[DONE]"]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reader_when_the_model_thinks_then_by_either_name(name: str) -> None:
    tokens, finish = read(delta(**{name: "hm"}), delta(content="yes", reasoning=None), delta("length"))
    assert [(token.channel, token.text) for token in tokens] == [("reasoning", "hm"), ("content", "yes")]
    assert finish == Finish("length")


def test_reader_when_functions_are_called_then_each_is_opened_once() -> None:
    def call(index: int | None, **function: str) -> dict[str, Any]:
        return delta(tool_calls=[{"index": index, "id": "x", "function": function}])

    tokens, finish = read(
        call(0, name="a", arguments=""),
        call(0, name="a", arguments='{"x": '),
        call(0, arguments="1}"),
        call(1, name="b", arguments="{}"),
        delta("tool_calls"),
    )
    assert [(token.opens, token.text) for token in tokens] == [("a", ""), (None, '{"x": '), (None, "1}"), ("b", "{}")]
    assert finish.reason == "stop"
    with pytest.raises(UpstreamFailure, match="behind another"):
        read(call(0, name="a"), call(1, name="b"), call(0, arguments="1"))


def test_reader_when_a_chunk_has_several_tokens_then_each_has_its_part_of_the_text() -> None:
    entries = [{"token": "a", "logprob": -1.0, "bytes": [97]}, {"token": "\\xc3", "logprob": -2.0, "bytes": [195]}]
    chunk = delta(content="a")
    chunk["choices"][0]["logprobs"] = {"content": entries}
    tokens, _ = read(chunk, delta("stop"))
    assert [(token.text, token.logprob) for token in tokens] == [("a", -1.0), ("", -2.0)]


def test_reader_when_the_older_endpoint_tells_tokens_then_their_bytes_are_known() -> None:
    spelling = Spelling()
    lists = {"tokens": ["a", "bytes:\\xc3"], "token_logprobs": [-1.0, -2.0], "top_logprobs": [{"b": -0.5}, None]}
    chunk = {"choices": [{"text": "a", "logprobs": lists, "finish_reason": None}]}
    tokens = Reader(spelling).feed(json.dumps(chunk).encode())
    assert [spelling.bytes_of(token.id) for token in tokens] == [b"a", b"\xc3"]
    assert [(spelling.bytes_of(id_), value) for id_, value in tokens[0].top] == [(b"b", -0.5)]


def test_reader_when_the_usage_comes_last_then_the_finish_has_it() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    _, finish = read(delta("stop"), {"choices": [], "usage": usage})
    assert finish.counted == Counted(7, 5, 0, 3)


def test_reader_when_the_stream_is_none_then_it_says_what_is_wrong() -> None:
    with pytest.raises(CutShort):
        read(delta(content="a"))
    with pytest.raises(UpstreamFailure, match="content_filter"):
        read(delta("content_filter"))
    with pytest.raises(StreamError) as caught:
        read({"error": {"message": "no"}})
    assert caught.value.told == {"message": "no"}
    for nonsense in (b"{", b"[1]", b'{"choices": [{"delta": 5}]}', b"\xff", b"[" * 10000):
        with pytest.raises(UpstreamFailure, match="no chunk"):
            Reader(Spelling()).feed(nonsense)


def test_breaker_when_trials_fail_then_its_pause_doubles_up_to_a_limit() -> None:
    replica, now = Replica("http://a", healthy=True), 0.0
    for _ in range(3):
        assert replica.fit(now)
        replica.settle("failed", now, trial=replica.take(now))
    pauses = []
    for _ in range(7):
        began = now
        while not replica.fit(now):
            now += 0.5
        pauses.append(now - began)
        replica.settle("failed", now, trial=replica.take(now))
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    now += 30
    replica.settle("cancelled", now, trial=replica.take(now))
    assert replica.state(now) == "half_open" and replica.fit(now)
    replica.settle("ok", now, trial=replica.take(now))
    assert replica.state(now) == "up"


def test_checks_when_a_busy_server_leaves_one_unanswered_then_it_is_still_well() -> None:
    replica = Replica("http://a")
    replica.passed()
    replica.silent("it does not answer")
    assert replica.state(0) == "up"
    replica.silent("it does not answer")
    assert replica.state(0) == "down"
    replica.passed()
    assert replica.state(0) == "up"


@pytest.mark.parametrize(("answered", "checked"), [(math.inf, False), (0.0, True)], ids=["lately", "long ago"])
def test_watch_when_a_server_answers_requests_then_it_is_asked_only_where_something_goes_wrong(
    answered: float, checked: bool
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"data": [{"id": "big"}]})

    async def watched() -> None:
        replica = Replica("http://a/v1", healthy=True, problem=None, answered=answered)
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            watching = asyncio.create_task(Checks(client, "far", "big", 0.01).watch(replica))
            async with asyncio.timeout(60):
                if checked:
                    while not asked:
                        await asyncio.sleep(0.01)
                else:
                    await asyncio.sleep(0.2)
                    assert not asked
                    replica.suspect.set()
                    while not asked:
                        await asyncio.sleep(0.01)
            watching.cancel()
            await asyncio.wait([watching])

    asyncio.run(watched())


def test_watch_when_it_is_cancelled_as_a_server_falls_under_suspicion_then_it_ends() -> None:
    async def cancelled_in_time() -> bool:
        replica = Replica("http://nowhere.invalid/v1")
        async with httpx.AsyncClient() as client:
            watching = asyncio.create_task(Checks(client, "far", "big", 60).watch(replica))
            replica.healthy, replica.problem = True, None
            await asyncio.sleep(0)
            replica.suspect.set()
            await asyncio.sleep(0)  # it is to be woken, and has not run yet
            watching.cancel()
            await asyncio.wait([watching], timeout=5)
            return watching.cancelled()

    assert asyncio.run(cancelled_in_time())

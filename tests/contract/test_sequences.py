"""Every order rule of streams, for any sequence of tokens that an engine may tell.

Hypothesis writes what a fake engine's answers come to: words, thoughts, calls, stops, failures. A real server in front
of it is asked for a stream and for the whole. What a stream must be is worked out here from the script alone.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.base import Event, Failure, Finish, Generation, Token
from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving, wait_until

STOP = "X"  # the stop string, where a request has one
FLAT_TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("find", "look")]
TOOLS = [{"type": "function", "function": {"name": tool["name"]}} for tool in FLAT_TOOLS]
ENDS = ("response.completed", "response.incomplete", "response.failed")
DONE_TEXT = {"message": "text", "reasoning": "text", "function_call": "arguments"}


@dataclasses.dataclass(frozen=True)
class Script:
    """What one answer's engine tells."""

    tokens: tuple[Token, ...]
    end: Finish | Failure


class ScriptedEngine(FakeEngine):
    """Answers by the scripts, in the order in which answers are begun."""

    scripts: list[Script]

    def _events(self, generation: Generation) -> Iterator[Event]:
        return self._told(self.scripts.pop(0), generation)

    def _told(self, script: Script, generation: Generation) -> Iterator[Event]:
        n_top, readings = generation.sampling.top_logprobs, tuple[float, ...]()
        for token in script.tokens:
            told = dataclasses.replace(token, readings=readings)
            if n_top is not None and token.channel == "content":
                top = tuple((id_, -float(id_)) for id_ in range(1, n_top + 1))
                told = dataclasses.replace(told, logprob=-1.0, top=top)
            yield told
            readings = tuple(0.5 for _ in generation.probes)
        if isinstance(script.end, Finish) and script.end.reason == "stop":
            yield dataclasses.replace(script.end, readings=readings)
        else:
            yield script.end


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, engine: ScriptedEngine) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("server")
    save_vector(folder / "vectors", "silly", "silly", "serious", responses=True)
    options = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    with serving(options, engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


TEXTS = st.text("ab é\n" + STOP, max_size=3)
WORDS = TEXTS.map(lambda text: [Token(1, text)])
THOUGHTS = TEXTS.map(lambda text: [Token(2, text, "reasoning")])


@st.composite
def calls(draw: st.DrawFn) -> list[Token]:
    written = draw(st.sampled_from(["{}", '{"a": "é"}', '{"a": [1, 2]}']))
    cuts = sorted(draw(st.lists(st.integers(0, len(written)), max_size=3)))
    first, *others = [written[start:end] for start, end in pairwise([0, *cuts, len(written)])]
    name = draw(st.sampled_from(["find", "look"]))
    return [Token(3, first, "arguments", opens=name), *(Token(3, piece, "arguments") for piece in others)]


FINISHES = st.builds(
    Finish, st.sampled_from(["stop", "stop", "length"]), rest=st.none() | TEXTS.map(lambda t: Token(4, t))
)
ENDINGS = st.one_of(FINISHES, FINISHES, FINISHES, st.just(Failure(RuntimeError("secret"))))


def written(*parts: st.SearchStrategy[list[Token]]) -> st.SearchStrategy[Script]:
    tokens = st.lists(st.one_of(*parts), max_size=6).map(lambda some: tuple(token for part in some for token in part))
    return st.builds(Script, tokens, ENDINGS)


SCRIPTS = written(WORDS, THOUGHTS, calls())


@cache
def endless() -> Script:
    """An answer of ever higher numbers."""
    return Script(tuple(Token(1, f"{number} ") for number in range(100_000)), Finish("stop"))


TOLD = {
    "logprobs": st.booleans(),
    "stop": st.booleans(),
    "traced": st.booleans(),
}


@dataclasses.dataclass
class Expected:
    """What a client must get to see of an answer: its parts in their order, as (kind, text, function), neighbours of a
    kind joined; why it ended, None for a failure."""

    parts: list[tuple[str, str, str]]
    reason: str | None

    def of(self, kind: str) -> list[tuple[str, str]]:
        return [(text, name) for each, text, name in self.parts if each == kind]

    def joined(self, kind: str) -> str:
        return "".join(text for text, _ in self.of(kind))


def expected(script: Script, *, stop: bool, tools: bool) -> Expected:
    parts: list[tuple[str, str, str]] = []
    content = ""
    rest = [script.end.rest] if isinstance(script.end, Finish) and script.end.rest else []
    cut = len(whole.split(STOP)[0]) if stop and STOP in (whole := _content([*script.tokens, *rest])) else None
    for token in [*script.tokens, *rest]:
        if token.channel == "content":
            text = token.text if cut is None else token.text[: max(cut - len(content), 0)]
            content += token.text
        elif token.channel == "arguments" and not tools:
            continue
        else:
            text = token.text
        if parts and parts[-1][0] == token.channel and token.opens is None:
            parts[-1] = (token.channel, parts[-1][1] + text, parts[-1][2])
        elif text or token.opens is not None:
            parts.append((token.channel, text, token.opens or ""))
        if cut is not None and STOP in content:
            return Expected(parts, "stop")
    if isinstance(script.end, Failure):
        return Expected(parts, None)
    called = any(kind == "arguments" for kind, _, _ in parts)
    return Expected(parts, "tool_calls" if called and script.end.reason == "stop" else script.end.reason)


def _content(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens if token.channel == "content")


def ask(
    client: httpx.Client, engine: ScriptedEngine, path: str, answers: Sequence[Script], body: Any
) -> httpx.Response:
    engine.scripts = list(answers)
    return client.post(path, json={"model": "fake", **body})


def frames(response: httpx.Response) -> list[Any]:
    """The chunks of a stream that ends as it should."""
    *events, done, empty = response.text.split("\n\n")
    assert (done, empty) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def options(stop: bool, traced: bool) -> dict[str, Any]:
    steering = {"persona": "silly", "steering": {"trace": True}} if traced else {}
    return ({"stop": [STOP]} if stop else {}) | steering


def check_usage(chunks: list[Any], wanted: bool, failed: bool) -> list[Any]:
    """The chunks without the usage, which stands in the last where it is wanted and nothing failed."""
    if not wanted:
        assert all("usage" not in chunk for chunk in chunks)
        return chunks
    if failed:
        assert all(chunk["usage"] is None for chunk in chunks)
        return chunks
    *chunks, last = chunks
    assert last["choices"] == [] and all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    told = last["usage"]
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"]
    return chunks


def check_ends(chunks: list[Any], answers: Sequence[Expected], failed: bool) -> None:
    """Each choice ends once, with its reason and the report, and nothing follows."""
    for index, answer in enumerate(answers):
        own = [(chunk["choices"][0], chunk) for chunk in chunks if chunk["choices"][0]["index"] == index]
        reasons = [choice["finish_reason"] for choice, _ in own]
        if answer.reason is None or (failed and not any(reasons)):  # it failed, or another one did before it ended
            assert not any(reasons)
            continue
        assert reasons == [None] * (len(own) - 1) + [answer.reason]
        assert "personas" in own[-1][1]["steering"]
        assert all("personas" not in chunk.get("steering", {}) for _, chunk in own[:-1])


@given(answers=st.lists(SCRIPTS, min_size=1, max_size=3), usage=st.booleans(), tools=st.booleans(), **TOLD)
@settings(max_examples=30)
def test_chat_when_streamed_then_roles_deltas_finishes_usage_and_done_in_their_order(
    client: httpx.Client,
    engine: ScriptedEngine,
    answers: list[Script],
    usage: bool,
    tools: bool,
    logprobs: bool,
    stop: bool,
    traced: bool,
) -> None:
    traced = traced and len(answers) == 1  # one at a time can be
    wished = [expected(script, stop=stop, tools=tools) for script in answers]
    failed = any(answer.reason is None for answer in wished)
    body = {"messages": [{"role": "user", "content": "hello"}], "n": len(answers), **options(stop, traced)}
    body |= {"logprobs": logprobs, "tools": TOOLS if tools else []} | ({"top_logprobs": 2} if logprobs else {})
    streamed = body | {"stream": True, "stream_options": {"include_usage": usage}}
    chunks = frames(ask(client, engine, "/v1/chat/completions", answers, streamed))
    assert any("error" in chunk for chunk in chunks) == failed
    if failed:
        assert "error" in chunks.pop() and not any("error" in chunk for chunk in chunks)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    chunks = check_usage(chunks, usage, failed)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    check_ends(chunks, wished, failed)
    whole = ask(client, engine, "/v1/chat/completions", answers, body)
    assert whole.status_code == (500 if failed else 200)
    for index, answer in enumerate(wished):
        own = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        assert [choice["delta"].get("role") for choice in own] == ["assistant"] + [None] * (len(own) - 1)
        message, entries = joined_chat(own)
        if not failed:
            assert message == {
                "content": answer.joined("content"),
                "reasoning": answer.joined("reasoning"),
                "calls": [(name, text) for text, name in answer.of("arguments")],
            }
            check_same(whole.json()["choices"][index], message, entries, logprobs)


def joined_chat(choices: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """One choice's message put together from its deltas, and its log-probabilities."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    entries: list[Any] = []
    for choice in choices:
        delta = choice["delta"]
        message["content"] += delta.get("content", "")
        message["reasoning"] += delta.get("reasoning", "")
        assert delta.get("reasoning") == delta.get("reasoning_content")
        entries += (choice["logprobs"] or {"content": []})["content"]
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(message["calls"]):
                assert call["id"] and call["type"] == "function"
                message["calls"].append((call["function"]["name"], ""))
            else:
                assert call["index"] == len(message["calls"]) - 1 and call.keys() == {"index", "function"}
                assert call["function"].keys() == {"arguments"}
            name, text = message["calls"][-1]
            message["calls"][-1] = (name, text + call["function"]["arguments"])
    return message, entries


def check_same(whole: Any, message: dict[str, Any], entries: list[Any], logprobs: bool) -> None:
    """The answer that was not streamed is the stream's."""
    told = whole["message"]
    assert (told["content"] or "", told.get("reasoning", "")) == (message["content"], message["reasoning"])
    called = [(call["function"]["name"], call["function"]["arguments"]) for call in told.get("tool_calls", ())]
    assert called == message["calls"] and ("tool_calls" in told) == bool(called)
    assert (told["content"] is None) == bool(called and not message["content"])
    assert whole["logprobs"] == ({"content": entries, "refusal": None} if logprobs else None)


@given(answers=st.lists(written(WORDS), min_size=1, max_size=4), usage=st.booleans(), echo=st.booleans(), **TOLD)
@settings(max_examples=20)
def test_text_when_streamed_then_echo_deltas_finishes_usage_and_done_in_their_order(
    client: httpx.Client,
    engine: ScriptedEngine,
    answers: list[Script],
    usage: bool,
    echo: bool,
    logprobs: bool,
    stop: bool,
    traced: bool,
) -> None:
    traced = traced and len(answers) == 1  # one at a time can be
    wished = [expected(script, stop=stop, tools=False) for script in answers]
    failed = any(answer.reason is None for answer in wished)
    prompts, n = (["hello", "you"], len(answers) // 2) if len(answers) % 2 == 0 else (["hello"], len(answers))
    body = {"prompt": prompts, "n": n, "echo": echo, "logprobs": 2 if logprobs else None, **options(stop, traced)}
    streamed = body | {"stream": True, "stream_options": {"include_usage": usage}}
    chunks = frames(ask(client, engine, "/v1/completions", answers, streamed))
    assert any("error" in chunk for chunk in chunks) == failed
    if failed:
        assert "error" in chunks.pop() and not any("error" in chunk for chunk in chunks)
    chunks = check_usage(chunks, usage, failed)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    check_ends(chunks, wished, failed)
    whole = ask(client, engine, "/v1/completions", answers, body)
    assert whole.status_code == (500 if failed else 200)
    for index, answer in enumerate(wished):
        own = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        if echo:
            assert own[0]["text"] == prompts[index // n]
        if not failed:
            told = whole.json()["choices"][index]
            before = prompts[index // n] if echo else ""
            assert "".join(choice["text"] for choice in own) == told["text"] == before + answer.joined("content")
            for name, value in (told["logprobs"] or {}).items():
                assert [each for choice in own for each in (choice["logprobs"] or {name: []})[name]] == value


@given(script=SCRIPTS, tools=st.booleans(), **TOLD)
@settings(max_examples=30)
def test_response_when_streamed_then_items_open_grow_and_close_one_after_another_and_one_end(
    client: httpx.Client,
    engine: ScriptedEngine,
    script: Script,
    tools: bool,
    logprobs: bool,
    stop: bool,
    traced: bool,
) -> None:
    wished = expected(script, stop=stop, tools=tools)
    body: dict[str, Any] = {"input": "hello", "tools": FLAT_TOOLS if tools else []}
    body |= options(stop, traced) | ({"include": ["message.output_text.logprobs"]} if logprobs else {})
    response = ask(client, engine, "/v1/responses", [script], body | {"stream": True})
    *parts, empty = response.text.split("\n\n")
    events = [json.loads(part.split("\n")[1].removeprefix("data: ")) for part in parts]
    assert empty == "" and [event["sequence_number"] for event in events] == list(range(len(events)))
    created, in_progress, *middle, last = events
    assert (created["type"], in_progress["type"]) == ("response.created", "response.in_progress")
    assert not [event for event in middle if event["type"] in ENDS]
    if wished.reason is None:
        assert middle.pop()["type"] == "error" and last["type"] == "response.failed"
    else:
        assert last["type"] == f"response.{'incomplete' if wished.reason == 'length' else 'completed'}"
    items = grown(middle, whole=wished.reason is not None)
    final = last["response"]
    assert final["status"] == last["type"].removeprefix("response.")
    shown = [(item["type"], text_of(item), item.get("name", "")) for item in final["output"]]
    kinds = {"content": "message", "reasoning": "reasoning", "arguments": "function_call"}
    parts_wished = [(kinds[kind], text, name) for kind, text, name in wished.parts if text or name]
    if wished.reason in ("stop", "tool_calls") and not parts_wished:
        parts_wished = [("message", "", "")]  # it said nothing
    if wished.reason is None:  # what might have become a stop string is held back for ever
        assert len(shown) <= len(parts_wished)
        return
    assert shown == parts_wished and items == final["output"]
    told = ask(client, engine, "/v1/responses", [script], body).json()
    assert [text_of(item) for item in told["output"]] == [text_of(item) for item in items]


def text_of(item: Any) -> str:
    return (
        str(item["arguments"]) if item["type"] == "function_call" else "".join(part["text"] for part in item["content"])
    )


def grown(events: list[Any], whole: bool) -> list[Any]:
    """The items as their events tell of them; the last may be open where the response is not `whole`."""
    done: list[Any] = []
    item: Any = None
    text, closed, part_open = "", False, False
    for event in events:
        kind = event["type"].removeprefix("response.")
        assert event["output_index"] == len(done) and (item is None) == (kind == "output_item.added")
        if kind == "output_item.added":
            item, text, closed, part_open = event["item"], "", False, False
            assert item["status"] == "in_progress" and text_of(item) == ""
            continue
        if kind == "output_item.done":
            assert closed and not part_open and event["item"]["id"] == item["id"]
            assert text_of(event["item"]) == text and event["item"]["status"] != "in_progress"
            done.append(event["item"])
            item = None
            continue
        assert event["item_id"] == item["id"]
        if kind == "content_part.added":
            assert not part_open and not closed and event["part"]["text"] == ""
            part_open = True
        elif kind == "content_part.done":
            assert part_open and closed and event["part"]["text"] == text
            part_open = False
        elif kind.endswith(".delta"):
            assert not closed and (part_open or item["type"] == "function_call") and event["delta"]
            text += event["delta"]
        else:
            assert kind.endswith(".done") and not closed and event[DONE_TEXT[item["type"]]] == text
            closed = True
    assert item is None or not whole
    return done


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "n": 2}),
        ("/v1/completions", {"prompt": "hello", "n": 2}),
        ("/v1/responses", {"input": "hello"}),
    ],
)
@given(count=st.integers(0, 12))
@settings(max_examples=8)
def test_client_when_it_leaves_a_stream_anywhere_then_what_came_is_in_order_and_the_engine_is_free(
    client: httpx.Client, engine: ScriptedEngine, path: str, asked: dict[str, Any], count: int
) -> None:
    n, received = asked.get("n", 1), list[Any]()
    engine.scripts, engine.token_s = [endless()] * n, 0.002
    with client.stream("POST", path, json={**asked, "model": "fake", "stream": True}) as response:
        for line in response.iter_lines():
            if len(received) == count:
                break
            if line.startswith("data: "):
                received.append(json.loads(line.removeprefix("data: ")))
    wait_until(lambda: not engine.running)
    engine.token_s = 0
    assert not any("error" in each for each in received)
    if path == "/v1/responses":
        assert [event["sequence_number"] for event in received] == list(range(len(received)))
        grown(received[2:], whole=False)
    for index in range(n):
        choices = [choice for chunk in received for choice in chunk.get("choices", ()) if choice["index"] == index]
        text = "".join(choice["text"] if "text" in choice else choice["delta"]["content"] for choice in choices)
        assert text.split() == [str(number) for number in range(len(text.split()))]
        assert all(choice["finish_reason"] is None for choice in choices)

"""Both engines: calls of functions are kept to their schemas, and told while they are written."""

import json
import queue
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.engines.base import CallableFunction, CallRules, Engine, Event, Failure, Finish, Generation, Sampling, Token
from proxy.engines.errors import Refusal
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama
from tests.engines.tiny_models import save_tiny_model

TALK = [{"role": "user", "content": "Hello."}]
PARAMETERS = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2, 30]}},
    "required": ["n"],
    "additionalProperties": False,
}
FUNCTIONS = (
    CallableFunction("find", json.dumps(PARAMETERS)),
    CallableFunction("look-up_2", json.dumps({**PARAMETERS, "properties": {"n": {"const": "é}{"}}})),
)


@pytest.fixture(params=["transformers", "llama_cpp"])
def engine_for(
    request: pytest.FixtureRequest, models_folder: Path, engine_of: LoadEngine, llama_of: LoadLlama
) -> Callable[[str], Engine]:
    def engine(family: str) -> Engine:
        if request.param == "llama_cpp":
            return llama_of(family)
        return engine_of(save_tiny_model(family, models_folder / family))

    return engine


def answer(engine: Engine, rules: CallRules, *, seed: int = 0, **how: Any) -> list[Event]:
    """All that is told of one answer."""
    return answers(engine, rules, [seed], **how)[0]


def answers(
    engine: Engine,
    rules: CallRules,
    seeds: Iterable[int],
    *,
    schema: str | None = None,
    most: int = 150,
    begun: tuple[list[int], list[int]] = ([], []),
    likely: str = "",
) -> list[list[Event]]:
    """All that is told of answers, made at once, each of which has begun with headers and a text. Tokens of `likely`
    come where they may."""
    bias = {token: 50.0 for token in engine.encode(likely)}
    headers, text = begun
    prompt = [*engine.render(TALK), *headers, *text]
    asked: list[queue.SimpleQueue[Event]] = []
    for seed in seeds:
        sampling = Sampling(most, temperature=1.0, seed=seed, json_schema=schema, logit_bias=bias)
        asked.append(queue.SimpleQueue())
        engine.start(Generation(prompt, sampling, calls=rules, begun=len(text)), asked[-1].put)
    return [list(_told(events)) for events in asked]


def _told(events: "queue.SimpleQueue[Event]") -> Iterator[Event]:
    event: Event | None = None
    while not isinstance(event, Finish | Failure):
        yield (event := events.get(timeout=60))


def calls(events: list[Event]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, Token) and event.channel == "arguments":
            if event.opens is not None:
                found.append((event.opens, ""))
            found[-1] = found[-1][0], found[-1][1] + event.text
    return found


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token) and event.channel == "content")


def test_call_when_one_is_needed_then_there_is_one_by_its_schema_and_nothing_else(
    engine_for: Callable[[str], Engine],
) -> None:
    for events in answers(engine_for("qwen2"), CallRules(FUNCTIONS, needed=True, several=False), range(4)):
        [(name, arguments)] = calls(events)
        assert said(events) == "" and events[-1] == Finish("stop")
        assert json.loads(arguments)["n"] in {"find": (1, 2, 30), "look-up_2": ("é}{",)}[name]
        # Arguments come while they are written.
        pieces = [event for event in events if isinstance(event, Token) and event.channel == "arguments"]
        assert len(pieces) >= 5 and all(len(piece.text) <= 2 for piece in pieces)


def test_calls_when_several_may_be_then_each_is_told_apart(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    found = [calls(events) for events in answers(engine, CallRules(FUNCTIONS, needed=True), range(3))]
    assert any(len(each) > 1 for each in found)
    for name, arguments in (call for each in found for call in each[:-1]):
        assert name in ("find", "look-up_2") and json.loads(arguments)


def test_answer_when_calls_or_a_schema_are_asked_for_then_is_one_of_them(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    schema = json.dumps({"enum": ["yes", "no"]})
    for events in answers(engine, CallRules(FUNCTIONS, several=False), range(6), schema=schema):
        if found := calls(events):
            assert json.loads(found[0][1]) and said(events) == ""
        else:
            assert json.loads(said(events)) in ("yes", "no")


def test_answer_when_calls_are_free_then_any_text_goes(engine_for: Callable[[str], Engine]) -> None:
    events = answer(engine_for("qwen2"), CallRules(FUNCTIONS), most=20)
    assert calls(events) == [] and isinstance(events[-1], Finish)


def test_parameters_when_they_can_t_be_enforced_then_any_object_or_where_strict_a_refusal(
    engine_for: Callable[[str], Engine],
) -> None:
    engine, odd = engine_for("qwen2"), '{"type": "object", "not": {"required": ["a"]}}'
    engine.check_schema(None, CallRules((CallableFunction("f", odd),)))
    with pytest.raises(Refusal, match="parameters of f") as caught:
        engine.check_schema(None, CallRules((CallableFunction("f", odd, strict=True),)))
    assert caught.value.part == "calls"


def thought(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token) and event.channel == "reasoning")


def test_harmony_when_a_call_is_needed_then_thoughts_are_free_and_the_call_follows_its_schema(
    engine_for: Callable[[str], Engine],
) -> None:
    for events in answers(engine_for("gpt-oss"), CallRules(FUNCTIONS, needed=True), range(4), most=1000):
        [(name, arguments)] = calls(events)
        assert said(events) == "" and events[-1] == Finish("stop")
        assert json.loads(arguments)["n"] in {"find": (1, 2, 30), "look-up_2": ("é}{",)}[name]


def test_harmony_when_a_call_is_needed_behind_begun_thoughts_then_it_goes_on_with_them(
    engine_for: Callable[[str], Engine],
) -> None:
    engine, rules = engine_for("gpt-oss"), CallRules(FUNCTIONS, needed=True)
    headers, begun = engine.begin(engine.render(TALK), "", "I could")
    events = answer(engine, rules, seed=1, most=1000, begun=(headers, begun))
    assert thought(events) and len(calls(events)) == 1 and said(events) == ""
    headers, begun = engine.begin(engine.render(TALK), "No, I", "")
    with pytest.raises(Refusal, match="begins with something else") as caught:
        answer(engine, rules, begun=(headers, begun))
    assert caught.value.part == "calls"


def test_harmony_when_calls_or_a_schema_are_asked_for_then_is_one_of_them(engine_for: Callable[[str], Engine]) -> None:
    engine, schema = engine_for("gpt-oss"), json.dumps({"enum": ["yes", "no"]})
    both = answers(engine, CallRules(FUNCTIONS), range(6), schema=schema, likely="f")
    assert {bool(calls(events)) for events in both} == {True, False}
    for events in both:
        if found := calls(events):
            assert json.loads(found[0][1]) and said(events) == ""
        else:
            assert json.loads(said(events)) in ("yes", "no")


def test_harmony_when_calls_are_free_then_their_arguments_follow_the_schema_too(
    engine_for: Callable[[str], Engine],
) -> None:
    engine = engine_for("gpt-oss")
    [(name, arguments)] = calls(answer(engine, CallRules(FUNCTIONS[:1]), likely="to=functions."))
    assert name == "find" and json.loads(arguments)["n"] in (1, 2, 30)
    assert any(map(said, answers(engine, CallRules(FUNCTIONS), range(6), likely="f", most=60)))

"""Every request to vLLM is steered by its own plan, whoever shares the batch, as a plain hook does it."""

import contextlib
import os
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from proxy.engines.base import (
    Engine,
    Event,
    Failure,
    Finish,
    FloatArray,
    Generation,
    Intervention,
    Mode,
    Plan,
    Positions,
    Probe,
    Sampling,
    Token,
)
from proxy.engines.errors import Refusal
from tests.engines.reference import steered
from tests.engines.vllm.conftest import FAMILIES, LoadVllm

if TYPE_CHECKING:
    from proxy.engines.vllm.engine import VllmEngine

pytestmark = pytest.mark.timeout(600)

Plain = Callable[[str], PreTrainedModel]
ERROR = 2e-3  # of log-probabilities, between two ways to sum up float32
WORDS = ["How are you today?", "Tell me about the sea.", "What is 2 and 2?", "Who lives in the old mill by the river?"]


def unit_rows(rng: np.random.Generator, n_rows: int, hidden: int) -> FloatArray:
    rows = rng.normal(size=(n_rows, hidden))
    unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def push(engine: Engine, block: int, positions: Positions, seed: int) -> Intervention:
    norm = 60 if engine.info.family == "qwen2" else 25  # about a third of the residual's own
    vector = norm * unit_rows(np.random.default_rng(seed), 1, engine.info.hidden_size)[0]
    return Intervention(block, positions, "add", vector=vector)


def hold(engine: Engine, block: int, positions: Positions, mode: Mode, seed: int, size: int = 1) -> Intervention:
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=size, scale=12).astype(np.float32)
    return Intervention(block, positions, mode, basis=unit_rows(rng, size, engine.info.hidden_size), levels=levels)


def plans(engine: Engine) -> list[Plan]:
    def add(block: int, positions: Positions, seed: int) -> Intervention:
        return push(engine, block, positions, seed)

    return [
        Plan(),
        Plan((add(0, "last_prompt", 1),)),
        Plan((add(3, "response", 2),)),
        Plan((add(1, "all", 3), add(2, "response", 4))),
        Plan((hold(engine, 0, "response", "target", 5),)),
        Plan((hold(engine, 2, "all", "cap", 6, size=3),)),
        Plan((hold(engine, 3, "last_prompt", "target", 7, size=2), add(3, "response", 8))),
        Plan((add(1, "response", 9), add(1, "last_prompt", 10), hold(engine, 1, "response", "cap", 11))),
        Plan((add(1, "response", 9), add(1, "response", 12))),
        Plan((add(1, "response", 13), add(1, "all", 14))),
    ]


@dataclass
class Told:
    """One answer's events."""

    tokens: list[Token] = field(default_factory=list)
    end: Finish | None = None

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


def ask(engine: Engine, generations: Sequence[Generation]) -> list[Told]:
    """All answers, which are under way at the same time."""
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    for number, generation in enumerate(generations):
        engine.start(generation, lambda event, number=number: events.put((number, event)))  # type: ignore[misc]
    found = [Told() for _ in generations]
    while any(told.end is None for told in found):
        number, event = events.get(timeout=300)
        if isinstance(event, Failure):
            raise event.error
        if isinstance(event, Finish):
            found[number].end = event
        else:
            found[number].tokens.append(event)
    return found


def rendered(engine: Engine, text: str) -> list[int]:
    return engine.render([{"role": "user", "content": text}])


def greedy(
    engine: "VllmEngine", prompt: Sequence[int], plan: Plan, n_tokens: int = 12, *, endless: bool = False
) -> Generation:
    """With log-probabilities of raw text, so that every token has one. An endless one has as many tokens as it may."""
    bias = {token: -100.0 for token in engine._speaker.stops} if endless else {}
    return Generation(prompt, Sampling(n_tokens, temperature=0, top_logprobs=1, logit_bias=bias), plan, raw=True)


def check(model: PreTrainedModel, generation: Generation, told: Told) -> None:
    """A plain hook finds the same tokens, and each as likely."""
    logits, _ = steered(model, generation.prompt, told.ids, generation.plan)
    expected = torch.log_softmax(logits.double(), dim=-1).numpy()
    drawn = list(told.tokens)
    assert told.end is not None
    if told.end.end is not None:
        drawn.append(told.end.end)
    for at, token in enumerate(drawn):
        best = np.delete(expected[at], list(generation.sampling.logit_bias)).max()
        assert token.logprob is not None
        assert token.logprob == pytest.approx(expected[at, token.id], abs=ERROR)
        assert expected[at, token.id] == pytest.approx(best, abs=ERROR)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_batch_when_every_request_has_another_plan_then_each_is_as_by_a_plain_hook(
    family: str, vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    engine = vllm_of(family)
    asked = [
        greedy(engine, rendered(engine, WORDS[i % len(WORDS)] * (1 + i % 3)), plan)
        for i, plan in enumerate(plans(engine))
    ]
    answers = ask(engine, asked)
    for generation, told in zip(asked, answers, strict=True):
        check(plain_demo(family), generation, told)
    [alone] = ask(engine, asked[:1])
    assert alone.ids == answers[0].ids
    for generation, told in zip(asked[1:], answers[1:], strict=True):
        with pytest.raises(AssertionError):  # the check would tell steering from none
            check(plain_demo(family), replace(generation, plan=Plan()), told)


def test_many_personas_when_each_request_has_another_then_none_is_another_s(
    vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    engine = vllm_of("qwen2")
    many = [Plan((push(engine, 2, "response", 100 + i),)) for i in range(32)]
    asked = [greedy(engine, rendered(engine, WORDS[0]), plan, 8) for plan in many]
    answers = ask(engine, asked)
    for generation, told in zip(asked, answers, strict=True):
        check(plain_demo("qwen2"), generation, told)
    assert len({told.tokens[0].logprob for told in answers}) > 16


def cramped(vllm_of: LoadVllm) -> "VllmEngine":
    """In which prompts are read in pieces of 64 tokens, 11 vectors have room, and 600 tokens of keys and values."""
    options = {"persona": {"slots": 12, "directives": 16}}
    return vllm_of(
        "qwen2",
        8,
        max_num_batched_tokens=64,
        additional_config=options,
        num_gpu_blocks_override=20,
        max_model_len=512,
    )


def test_a_long_prompt_when_it_is_read_in_pieces_then_only_its_plan_s_positions_are_steered(
    vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    engine = cramped(vllm_of)
    long = rendered(engine, "Never the same. " * 30)
    assert len(long) > 128
    asked = [greedy(engine, long, plan, 6) for plan in plans(engine)[1:8]]
    for generation, told in zip(asked, ask(engine, asked), strict=True):
        check(plain_demo("qwen2"), generation, told)


@pytest.mark.parametrize("positions", ["all", "response", "last_prompt"])
def test_what_is_kept_of_prompts_when_it_was_steered_then_others_don_t_go_on_from_it(
    positions: Positions, vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    engine = vllm_of("qwen2")
    plan = Plan((push(engine, 1, positions, 31),))
    prompt = rendered(engine, f"What do you think of {positions}? " * 12)
    [first] = ask(engine, [greedy(engine, prompt, plan, 80, endless=True)])
    # The next turn, by hand: what was said is now part of the prompt, which nobody steers before its last token.
    turn = [*prompt, *first.ids, *rendered(engine, "And then?")]
    for next_plan in (Plan(), plan, Plan((push(engine, 1, positions, 32),))):
        asked = greedy(engine, turn, next_plan, 6)
        [told] = ask(engine, [asked])
        check(plain_demo("qwen2"), asked, told)


def test_what_is_kept_of_prompts_when_only_answers_are_steered_then_all_personas_share_it(vllm_of: LoadVllm) -> None:
    engine = vllm_of("qwen2")
    prompt = rendered(engine, "You are all different, and all of you read this. " * 8)
    plan = Plan((push(engine, 1, "response", 41),))
    ask(engine, [greedy(engine, prompt, plan, 1)])
    found = [ask(engine, [greedy(engine, prompt, other, 1)])[0].tokens[0].cached for other in (Plan(), plan)]
    everywhere = Plan((push(engine, 1, "all", 41),))
    [steered_all] = ask(engine, [greedy(engine, prompt, everywhere, 1)])
    assert found[0] == found[1] >= len(prompt) - 33
    assert steered_all.tokens[0].cached == 0


def test_answers_when_memory_is_short_and_some_are_set_back_then_they_go_on_as_by_a_plain_hook(
    vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    engine = cramped(vllm_of)
    asked = [
        greedy(engine, rendered(engine, text), plan, 220, endless=True)
        for text, plan in zip(WORDS, plans(engine)[1:5], strict=True)
    ]
    for generation, told in zip(asked, ask(engine, asked), strict=True):
        assert len(told.ids) == 220
        check(plain_demo("qwen2"), generation, told)


def test_answers_when_they_are_cancelled_then_no_event_follows_and_their_places_are_free(vllm_of: LoadVllm) -> None:
    engine = cramped(vllm_of)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    long = greedy(engine, rendered(engine, WORDS[0]), plans(engine)[2], 400, endless=True)
    runs = [engine.start(long, events.put) for _ in range(20)]  # more than there is room for
    events.get(timeout=60)
    for run in runs:
        run.cancel()
    [told] = ask(engine, [greedy(engine, rendered(engine, WORDS[1]), Plan(), 3, endless=True)])
    assert len(told.ids) == 3
    n_events = events.qsize()
    ask(engine, [greedy(engine, rendered(engine, WORDS[1]), Plan(), 3)])
    assert events.qsize() == n_events < 20 * 400


def test_plans_when_there_are_more_vectors_than_room_then_requests_wait_for_it(
    vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    engine = cramped(vllm_of)
    many = [Plan((push(engine, 2, "response", 60 + i),)) for i in range(16)]
    asked = [greedy(engine, rendered(engine, WORDS[0]), plan, 6) for plan in many]
    for generation, told in zip(asked, ask(engine, asked), strict=True):
        check(plain_demo("qwen2"), generation, told)


def test_a_plan_when_it_is_larger_than_all_the_room_then_it_is_refused(vllm_of: LoadVllm) -> None:
    engine = cramped(vllm_of)
    where: list[Positions] = ["all", "response"]
    large = Plan(tuple(push(engine, block, positions, block) for block in range(6) for positions in where))
    with pytest.raises(Refusal, match="takes 12 vectors, and there is room for 11"):
        ask(engine, [greedy(engine, rendered(engine, WORDS[0]), large, 2)])


def test_probes_when_answers_are_steered_then_they_read_what_a_plain_hook_finds(
    vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    check_probes(vllm_of("qwen2"), plain_demo("qwen2"))


def check_probes(engine: "VllmEngine", model: PreTrainedModel) -> None:
    rng = np.random.default_rng(7)
    directions = unit_rows(rng, 3, engine.info.hidden_size)
    probes = tuple(Probe(block, row, 0.5) for block, row in zip((1, 1, 3), directions, strict=True))
    asked = [
        Generation(rendered(engine, text), Sampling(10, temperature=0), plan, probes, raw=True)
        for text, plan in zip(WORDS, plans(engine)[:4], strict=True)
    ]
    for generation, told in zip(asked, ask(engine, asked), strict=True):
        _, residuals = steered(model, generation.prompt, told.ids, generation.plan)
        assert told.end is not None and told.tokens[0].readings == ()
        read = [token.readings for token in told.tokens[1:]] + ([told.end.readings] if told.end.readings else [])
        for at, readings in enumerate(read):
            expected = [float(residuals[it.block][at] @ it.direction) - it.offset for it in probes]
            assert readings == pytest.approx(expected, abs=ERROR)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_a_mixed_batch_when_two_workers_share_each_block_then_each_is_as_by_a_plain_hook(
    monkeypatch: pytest.MonkeyPatch, vllm_of: LoadVllm, plain_demo: Plain
) -> None:
    monkeypatch.setenv(
        "VLLM_CPU_OMP_THREADS_BIND", "0|1"
    )  # else vLLM leaves a core to its server, and has one for both
    with contextlib.closing(vllm_of("qwen2", 16, tensor_parallel_size=2)) as engine:
        asked = [greedy(engine, rendered(engine, WORDS[i % len(WORDS)]), plan) for i, plan in enumerate(plans(engine))]
        for generation, told in zip(asked, ask(engine, asked), strict=True):
            check(plain_demo("qwen2"), generation, told)
        check_probes(engine, plain_demo("qwen2"))

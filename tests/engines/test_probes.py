"""What probes read at every generated token is what a plain forward finds there, whoever shares the batch."""

import queue
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedModel

from proxy.engines.base import Engine, Event, Failure, Finish, Generation, Plan, Probe, Rollout, Sampling, Token
from tests.engines.conftest import LoadEngine, LoadPlain
from tests.engines.llama_cpp.models import FAMILIES, LoadLlama, export_tiny, full_precision, load_tiny
from tests.engines.reference import steered
from tests.engines.transformers.test_graphs import engine_that_records
from tests.engines.transformers.test_steering import HIDDEN, N_LAYERS, PLANS, prompts, unit_rows

END = 257  # the tiny models' end token


def probes(seed: int, *blocks: int) -> tuple[Probe, ...]:
    rows = unit_rows(np.random.default_rng(seed), len(blocks))
    return tuple(Probe(block, row, 0.5 * number) for number, (block, row) in enumerate(zip(blocks, rows, strict=True)))


PROBES = [probes(1, 0), (), probes(2, 3, 1, 3), probes(3, 1), probes(4, 0, 1, 2, 3), probes(5, 2)]


def asked(engine: Engine, plans: Sequence[Plan] = PLANS) -> list[Generation]:
    """Long and short ones, some of which end by themselves, each with another plan and other probes."""
    bias = [{END: -1e4}, {}, {END: 1.0}]
    return [
        Generation(
            prompt,
            Sampling(4 + 3 * number, temperature=0.8, seed=number, logit_bias=bias[number % 3]),
            plan,
            PROBES[number % len(PROBES)],
        )
        for number, (prompt, plan) in enumerate(zip(prompts(engine), plans, strict=False))  # type: ignore[arg-type]
    ]


def events_of(engine: Engine, generations: Sequence[Generation]) -> list[list[Token | Finish]]:
    """Everything each of them tells, all made at once."""
    told: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    for number, generation in enumerate(generations):
        engine.start(generation, lambda event, number=number: told.put((number, event)))  # type: ignore[misc]
    found: list[list[Token | Finish]] = [[] for _ in generations]
    left = len(generations)
    while left:
        number, event = told.get(timeout=60)
        assert not isinstance(event, Failure), event.error
        found[number].append(event)
        left -= isinstance(event, Finish)
    return found


def check(model: PreTrainedModel, generation: Generation, events: Sequence[Token | Finish], error: float) -> None:
    """Every event carries the readings of the token before it, as a plain hook finds them."""
    ids = [event.id for event in events if isinstance(event, Token)]
    _, residuals = steered(model, generation.prompt, ids, generation.plan)
    assert events[0].readings == ()
    n_read = len(ids) if events[-1] == Finish("stop", events[-1].readings) else len(ids) - 1
    assert events[n_read + 1 :] == [Finish("length")] * (len(ids) - n_read)
    for at, event in enumerate(events[1 : n_read + 1]):
        expected = [residuals[probe.block][at] @ probe.direction - probe.offset for probe in generation.probes]
        np.testing.assert_allclose(event.readings, expected, atol=error, rtol=error)


def test_readings_when_everyone_has_other_plans_and_probes_then_are_those_of_a_plain_forward(
    any_family: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine = engine_of(any_family)
    generations = asked(engine)
    told = events_of(engine, generations)
    if any_family.name == "qwen2":  # the others need not do both
        assert {events[-1].reason for events in told if isinstance(events[-1], Finish)} == {"stop", "length"}
    for generation, events in zip(generations, told, strict=True):
        check(plain(any_family), generation, events, 1e-4)


def test_readings_when_steps_are_recorded_then_are_the_same(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    generations = asked(engine_of(qwen2))
    unread = [Generation(each.prompt, each.sampling, each.plan) for each in generations]
    expected = events_of(engine_of(qwen2), [*generations, *unread])
    engine = engine_that_records(qwen2, lambda step: step, monkeypatch)
    try:
        for _ in range(2):
            for events, others in zip(events_of(engine, [*generations, *unread]), expected, strict=True):
                for event, other in zip(events, others, strict=True):
                    np.testing.assert_allclose(event.readings, other.readings, atol=1e-4)
                    if isinstance(event, Token) and isinstance(other, Token):
                        assert event.id == other.id
    finally:
        engine.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_readings_of_a_gguf_model_then_are_those_of_a_plain_forward(
    family: str, llama_of: LoadLlama, plain: LoadPlain, models_folder: Path
) -> None:
    engine = llama_of(family, exact=True)
    generations = asked(engine)
    for generation, events in zip(generations, events_of(engine, generations), strict=True):
        check(plain(models_folder / family), generation, events, 1e-3)


@pytest.mark.parametrize("kind", ["transformers", "llama_cpp"])
def test_readings_up_to_the_first_steered_block_then_are_the_unsteered_model_s(
    kind: str, qwen2: Path, engine_of: LoadEngine, llama_of: LoadLlama
) -> None:
    engine: Engine = engine_of(qwen2) if kind == "transformers" else llama_of("qwen2", exact=True)
    exactly = nullcontext if kind == "transformers" else full_precision
    sampling = Sampling(8, temperature=0, logit_bias={END: -1e4})
    for prompt, plan in zip(prompts(engine)[1:], PLANS[1:], strict=False):  # type: ignore[arg-type]
        first = min(item.block for item in plan.interventions)
        mine = probes(7, *range(N_LAYERS))
        [events] = events_of(engine, [Generation(prompt, sampling, plan, mine)])
        ids = [event.id for event in events if isinstance(event, Token)]
        with exactly():
            [residuals] = engine.capture_tokens([Rollout(prompt, ids)], "response", range(N_LAYERS))
        for at, event in enumerate(events[1:-1]):
            unsteered = [residuals[at, probe.block] @ probe.direction - probe.offset for probe in mine]
            np.testing.assert_allclose(event.readings[: first + 1], unsteered[: first + 1], atol=1e-3)
            later = np.array(event.readings[first + 1 :]) - unsteered[first + 1 :]
            assert not len(later) or (np.abs(later) > 1e-2).any()


def test_readings_when_an_answer_has_to_wait_for_memory_then_none_is_missing_or_told_twice(
    models_folder: Path, llama_of: LoadLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = export_tiny("qwen2", models_folder / "qwen2", tmp_path / "tiny.gguf")
    from proxy.engines.llama_cpp import engine as llama_cpp
    from proxy.engines.llama_cpp.batch import LlamaBatch

    n_evicted, make_room = 0, LlamaBatch._make_room

    def count(batch: LlamaBatch) -> bool:
        nonlocal n_evicted
        n_waiting = len(batch._waiting)
        made = make_room(batch)
        n_evicted += len(batch._waiting) > n_waiting
        return made

    monkeypatch.setattr(LlamaBatch, "_make_room", count)
    monkeypatch.setattr(llama_cpp, "SHARED_TOKENS", 256)
    with full_precision():
        engine = load_tiny(file, max_batch=4, context_length=250)
    try:
        generations = [
            Generation(
                engine.encode(f"text {n}"), Sampling(120, seed=n, logit_bias={END: -1e4}), probes=probes(n, 1, 2)
            )
            for n in range(4)
        ]
        together = events_of(engine, generations)
        assert n_evicted
        for generation, events in zip(generations, together, strict=True):
            [alone] = events_of(llama_of("qwen2", exact=True), [generation])
            for one, other in zip(events, alone, strict=True):
                np.testing.assert_allclose(one.readings, other.readings, atol=1e-3)
    finally:
        engine.close()


def test_probes_of_another_model_then_are_refused(qwen2: Path, engine_of: LoadEngine) -> None:
    for probe in (Probe(N_LAYERS, np.zeros(HIDDEN, np.float32), 0.0), Probe(0, np.zeros(7, np.float32), 0.0)):
        with pytest.raises(ValueError, match="no such probe"):
            engine_of(qwen2).start(Generation([1], Sampling(1), probes=(probe,)), lambda event: None)

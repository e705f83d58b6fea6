"""Memory that runs out fails the answers that asked for it, and nobody else's; none is left behind."""

import gc
import queue
import threading
import weakref
from pathlib import Path

import pytest
import torch

from proxy.engines.base import Event, Failure, Generation, Sampling, Token
from proxy.engines.blocking import Completion, generate_all
from proxy.engines.errors import MemoryFull, PromptTooLarge
from proxy.engines.transformers import batch as decoding
from proxy.engines.transformers import kv_cache
from proxy.engines.transformers.engine import TransformersEngine, load
from proxy.engines.transformers.prefix_cache import PrefixCache
from proxy.engines.transformers.runner import ModelRunner
from proxy.settings import ModelSettings
from tests.engines.conftest import LoadEngine
from tests.engines.transformers.test_steering import PLANS, prompts

PATIENCE_S = 20.0
NO_END = {256: -1e4, 257: -1e4}


@pytest.fixture
def engine(qwen2: Path) -> TransformersEngine:
    return load(ModelSettings(id="tiny", source=str(qwen2)), 16)


def limit(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if keys and values of so many positions, all rows together, were all that there is memory for."""
    with_room = kv_cache._with_room

    def limited(held: torch.Tensor | None, like: torch.Tensor, n_rows: int, length: int) -> torch.Tensor:
        larger = with_room(held, like, n_rows, length)
        if larger is not held and larger.shape[0] * larger.shape[2] > positions:
            raise torch.OutOfMemoryError("tried to allocate too much")
        return larger

    monkeypatch.setattr(kv_cache, "_with_room", limited)


def mixed(engine: TransformersEngine, n: int) -> list[Generation]:
    return [
        Generation(prompt, Sampling(40, seed=index, logit_bias=NO_END), plan)
        for index, (prompt, plan) in enumerate(zip(prompts(engine)[:n], PLANS[:n], strict=True))
    ]


def run_beside(
    engine: TransformersEngine, others: list[Generation], greedy: Generation
) -> tuple[list[Completion], Failure]:
    """The answers of `others` while `greedy` runs too, and how that one failed."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    started = threading.Event()
    found: list[list[Completion]] = []
    waiting = engine.start(Generation([1], Sampling(1500, logit_bias=NO_END)), lambda event: started.set())
    assert started.wait(PATIENCE_S)
    thread = threading.Thread(target=lambda: found.append(generate_all(engine, others)))
    thread.start()
    engine.start(greedy, events.put)
    while isinstance(event := events.get(timeout=PATIENCE_S), Token):
        pass
    thread.join()
    waiting.cancel()
    assert isinstance(event, Failure)
    return found[0], event


def test_a_prompt_when_there_is_no_memory_for_it_then_only_it_fails(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = mixed(engine, 4)
    expected = generate_all(engine, others)
    limit(8 * 256, monkeypatch)
    found, failure = run_beside(engine, others, Generation([5] * 2000, Sampling(5)))
    assert found == expected
    assert isinstance(failure.error, MemoryFull) and "memory" in failure.error.message
    engine.close()


def test_an_answer_when_it_grows_beyond_the_memory_then_only_the_longest_fails(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = mixed(engine, 4)
    expected = generate_all(engine, others)
    limit(8 * 128, monkeypatch)
    found, failure = run_beside(engine, others, Generation([5] * 100, Sampling(1000, logit_bias=NO_END)))
    assert found == expected and isinstance(failure.error, MemoryFull)
    engine.close()


def test_a_request_when_it_is_too_large_even_alone_then_trying_again_is_not_suggested(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(4 * 256, monkeypatch)
    with pytest.raises(PromptTooLarge):
        generate_all(engine, [Generation([5] * 2000, Sampling(5))])
    assert generate_all(engine, mixed(engine, 2))
    engine.close()


def test_memory_when_it_runs_out_then_prompts_read_before_are_forgotten_first(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate_all(engine, mixed(engine, 4))
    read_chunk, clear, cleared = ModelRunner.read_chunk, PrefixCache.clear, threading.Event()

    def crowded(self: ModelRunner, *args: object, **kwargs: object) -> object:
        if not cleared.is_set():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return read_chunk(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelRunner, "read_chunk", crowded)

    def clear_and_tell(self: PrefixCache) -> None:
        clear(self)
        cleared.set()

    monkeypatch.setattr(PrefixCache, "clear", clear_and_tell)
    assert generate_all(engine, mixed(engine, 4)) == expected
    engine.close()


def test_what_is_known_of_a_prompt_when_there_is_no_memory_to_copy_it_then_others_go_on(
    qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PREFIX_SHARE", 100.0)  # these weights are smaller than a prompt's keys and values
    engine = load(ModelSettings(id="tiny", source=str(qwen2)), 16)
    others = mixed(engine, 4)
    expected = generate_all(engine, others)
    generate_all(engine, [Generation([5] * 2000, Sampling(1))])  # now known
    limit(8 * 256, monkeypatch)
    found, failure = run_beside(engine, others, Generation([5] * 2000, Sampling(5)))
    assert found == expected and isinstance(failure.error, MemoryFull)
    engine.close()


def test_a_closed_engine_when_nobody_holds_it_then_the_weights_are_gone(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = load(ModelSettings(id="tiny", source=str(qwen2)), 16)
    network = weakref.ref(engine._worker._thread._args[0].network)  # type: ignore[attr-defined]
    assert network() is not None
    generate_all(engine, mixed(engine, 4))
    engine.close()
    gc.collect()
    assert network() is None

"""Both engines: an answer's first token tells how much of its prompt had been read before, and the engine what memory
that takes."""

import queue
from pathlib import Path

import pytest

from proxy.engines.base import Engine, Event, Finish, Generation, Sampling, Token
from proxy.engines.transformers import batch as decoding
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama


@pytest.mark.parametrize("kind", ["transformers", "llama_cpp"])
def test_prompt_when_asked_again_then_most_of_it_is_cached(
    kind: str, qwen2: Path, engine_of: LoadEngine, llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PREFIX_SHARE", 100.0)  # these weights are smaller than a prompt's keys and values
    engine: Engine = engine_of(qwen2, max_batch=3) if kind == "transformers" else llama_of("qwen2")
    prompt = engine.render([{"role": "user", "content": f"What was read before is not read again, says {__file__}."}])

    def cached() -> list[int]:
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # One that need not be repeatable takes all there is. The random model must not end at once.
        engine.start(Generation(prompt, Sampling(3, logit_bias={256: -100.0, 257: -100.0})), events.put)
        told: list[int] = []
        while not isinstance(event := events.get(timeout=60), Finish):
            assert isinstance(event, Token)
            told.append(event.cached)
        return told

    assert cached()[1:] == [0, 0]
    first, *others = cached()
    assert len(prompt) - 16 <= first < len(prompt) and others == [0, 0]
    assert engine.info.weights_bytes
    if kind == "transformers":  # llama.cpp keeps it where answers are made, until others need the room
        assert engine.cached_bytes > 0

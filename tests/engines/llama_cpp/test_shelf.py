"""What had to leave a context's memory is kept within bounds, and found again."""

import queue

import numpy as np
import pytest

from proxy.engines.base import Event, Generation, Sampling, Token
from tests.engines.llama_cpp.models import LoadLlama

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp import batch as batches
from proxy.engines.llama_cpp.engine import LlamaEngine  # noqa: E402
from proxy.engines.llama_cpp.shelf import Shelf, ShelvedText  # noqa: E402


def text(tokens: list[int], n_bytes: int = 1, key: str = "") -> ShelvedText:
    return ShelvedText(key, tokens, 0, np.zeros(n_bytes, np.uint8))


@pytest.mark.parametrize("sizes", [{"most_tokens": 7}, {"most_tokens": 99, "most_bytes": 7}])
def test_texts_when_there_are_too_many_then_those_not_asked_for_longest_go(sizes: dict[str, int]) -> None:
    shelf, texts = Shelf(**sizes), [text([number, 0, 0], 3) for number in range(3)]
    shelf.put(texts[0])
    shelf.put(texts[1])
    assert shelf.best("", [0, 0]) is texts[0]
    shelf.put(texts[2])
    assert [shelf.best("", [number]) for number in range(3)] == [texts[0], None, texts[2]]
    assert shelf.n_bytes == 6


@pytest.mark.parametrize("large", [text([9] * 8), text([9], 8)])
def test_a_text_when_it_is_too_large_alone_then_the_others_stay(large: ShelvedText) -> None:
    shelf, small = Shelf(7, 7), text([1, 2])
    shelf.put(small)
    shelf.put(large)
    assert shelf.best("", [9]) is None and shelf.best("", [1]) is small


def test_a_text_when_another_goes_on_from_it_then_that_takes_its_place() -> None:
    shelf = Shelf(99)
    longer = text([1, 2, 3])
    for each in (text([1, 2]), text([1, 2], key="other"), longer):
        shelf.put(each)
    assert shelf.n_bytes == 2 and shelf.best("", [1, 2]) is longer


def first_token(engine: LlamaEngine, prompt: list[int]) -> Token:
    """Of an answer of one token that need not be repeatable, and ends before this returns."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    no_end = dict.fromkeys(engine._speaker.stops, -100.0)  # a draw might end it before it begins
    engine.start(Generation(prompt, Sampling(1, logit_bias=no_end)), events.put)
    token = events.get(timeout=20)
    assert isinstance(token, Token)
    events.get(timeout=20)
    return token


def test_conversations_when_others_follow_then_the_memory_holds_few_of_them_and_none_is_read_again(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST_IDLE", 100)
    engine = llama_of("qwen2", max_batch=7)
    prompts = [engine.encode(f"{number} is what I think of. " * 3) for number in range(6)]
    held = []
    for prompt in prompts:
        first_token(engine, prompt)
        batch = engine._worker._batch()
        assert isinstance(batch, batches.LlamaBatch)
        held.append(sum(len(seat.tokens) for seat in batch._seats))
    size = len(prompts[0])
    assert max(held) <= 100 + 2 * size < 6 * size  # what the last answer left joins what the one before found
    again = [first_token(engine, [*prompt, *prompts[0][:3]]) for prompt in prompts]
    assert [token.cached for token in again] == [size] * 6

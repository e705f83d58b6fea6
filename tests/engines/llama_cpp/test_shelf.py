"""What had to leave a context's memory is kept within bounds, and found again."""

import queue
from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Event, Finish, Generation, Sampling, Token
from tests.engines.llama_cpp.models import FAMILIES, LoadLlama, export_tiny, full_precision, load_tiny

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp import batch as batches
from proxy.engines.llama_cpp import engine as llama_cpp
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


def tokens_of(engine: LlamaEngine, prompts: list[list[int]], n_tokens: int) -> list[list[Token]]:
    """Of answers that run together, need not be repeatable, and have ended before this returns."""
    asked: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in prompts]
    no_end = dict.fromkeys(engine._speaker.stops, -100.0)  # a draw might end one before it begins
    for prompt, events in zip(prompts, asked, strict=True):
        engine.start(Generation(prompt, Sampling(n_tokens, logit_bias=no_end, top_k=1)), events.put)
    answers: list[list[Token]] = [[] for _ in prompts]
    for events, tokens in zip(asked, answers, strict=True):
        while isinstance(event := events.get(timeout=60), Token):
            tokens.append(event)
        assert isinstance(event, Finish)
    return answers


def test_conversations_when_others_follow_then_the_memory_holds_few_of_them_and_none_is_read_again(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST_IDLE", 100)
    engine = llama_of("qwen2", max_batch=7)
    prompts = [engine.encode(f"{number} is what I think of. " * 3) for number in range(6)]
    held = []
    for prompt in prompts:
        tokens_of(engine, [prompt], 1)
        batch = engine._worker._batch()
        assert isinstance(batch, batches.LlamaBatch)
        held.append(sum(len(seat.tokens) for seat in batch._seats))
    size = len(prompts[0])
    assert max(held) <= 100 + 2 * size < 6 * size  # what the last answer left joins what the one before found
    again = [tokens_of(engine, [[*prompt, *prompts[0][:3]]], 1)[0][0] for prompt in prompts]
    assert [token.cached for token in again] == [size] * 6


@pytest.mark.parametrize("family", FAMILIES)
def test_conversations_when_they_go_on_together_then_their_common_beginning_is_in_the_memory_once(
    models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(batches, "_MOST_IDLE", 0)
    monkeypatch.setattr(llama_cpp, "SHARED_TOKENS", 512)  # not quite room for four texts apart
    with full_precision():
        engine = load_tiny(export_tiny(family, models_folder / family, tmp_path / "tiny.gguf"), 4, 200)
    beginning = engine.encode("This is what everybody is told. " * 4)
    texts = [beginning + engine.encode(f"{number} is what I say. ") for number in range(4)]
    asked = [[*text, beginning[0]] for text in texts]
    full = []
    make_room = batches.LlamaBatch._make_room

    def watch(batch: batches.LlamaBatch) -> bool:
        full.append(batch)
        return make_room(batch)

    try:
        for text in texts:
            tokens_of(engine, [text], 1)
        with monkeypatch.context() as patch:
            patch.setattr(batches.LlamaBatch, "_make_room", watch)
            together = tokens_of(engine, asked, 50)
        alone = [tokens_of(engine, [prompt], 50)[0] for prompt in asked]
    finally:
        engine.close()
    assert not full and sum(map(len, texts)) > 512
    assert [tokens[0].cached for tokens in together] == list(map(len, texts))
    assert together == alone

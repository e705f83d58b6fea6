"""What the transformers engine promises besides steering: ends, seeds, cancelling, failures, templates."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxy.engines.base import Event, Failure, Finish, Generation, Intervention, Plan, Rollout, Sampling, Token
from proxy.engines.blocking import generate_all
from proxy.engines.errors import EngineClosed, ModelFailed, PromptTooLong, Refusal
from proxy.engines.transformers import batch as decoding
from proxy.engines.transformers.engine import TransformersEngine, load
from proxy.engines.transformers.kv_cache import RowCache
from proxy.engines.transformers.sampler import Draw
from proxy.settings import ModelSettings
from tests.engines.conftest import LoadEngine, LoadPlain

PATIENCE_S = 20.0


def ask(engine: TransformersEngine, text: str, sampling: Sampling) -> Generation:
    return Generation(engine.render([{"role": "user", "content": text}]), sampling)


def endless(n_tokens: int = 1500) -> Sampling:
    """An answer that only its length ends: end tokens are out of reach."""
    return Sampling(n_tokens, seed=1, logit_bias={256: -1e4, 257: -1e4})


def test_a_seeded_answer_when_its_neighbours_change_then_it_does_not(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2)
    mine = ask(engine, "hello", Sampling(30, temperature=1.3, top_p=0.9, top_k=40, seed=5, presence_penalty=0.5))
    [alone] = generate_all(engine, [mine])
    crowd = [ask(engine, "x" * n, Sampling(5 + 7 * n, seed=n)) for n in range(1, 8)]
    again = generate_all(engine, [*crowd[:3], mine, *crowd[3:]])[3]
    assert again == alone
    other_seed = Generation(mine.prompt, Sampling(30, temperature=1.3, seed=6))
    assert generate_all(engine, [other_seed]) != [alone]


def test_an_unseeded_answer_when_repeated_then_it_differs(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2)
    first, second = generate_all(engine, [ask(engine, "hello", Sampling(40, temperature=2.0))] * 2)
    assert first != second


def test_the_global_generators_when_answers_are_sampled_then_keep_their_state(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    generate_all(engine, [ask(engine, "hello", Sampling(10, seed=seed)) for seed in (1, None)])
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # type: ignore[index]


def test_an_answer_when_it_ends_then_the_reason_is_its_own(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2)
    by_length = ask(engine, "hello", Sampling(3, logit_bias={257: -1e4}))
    by_itself = ask(engine, "hello", Sampling(3, logit_bias={257: 1e4}))
    first, second = generate_all(engine, [by_length, by_itself])
    assert (len(first.token_ids), first.finish_reason) == (3, "length")
    assert (second.token_ids, second.text, second.finish_reason) == ([], "", "stop")


def test_an_answer_when_the_context_is_full_then_it_ends_by_length(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2, context_length=40)
    generation = ask(engine, "hello", endless())
    [answer] = generate_all(engine, [generation])
    assert len(generation.prompt) + len(answer.token_ids) == 40 and answer.finish_reason == "length"
    with pytest.raises(PromptTooLong, match="40 tokens"):
        engine.start(ask(engine, "hello" * 10, Sampling(1)), lambda event: None)


def test_text_when_streamed_then_its_pieces_are_whole_characters_and_no_marker_shows(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    wanted = engine.encode("né 🙂!")
    script = iter([*wanted[:3], 256, *wanted[3:]])

    class Scripted(Draw):
        def __call__(self, logits: torch.Tensor) -> list[int]:
            return [next(script, 257)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "Draw", Scripted)
        engine.start(ask(engine, "hi", Sampling(50)), events.put)
        seen = [events.get(timeout=PATIENCE_S)]
        while isinstance(seen[-1], Token):
            seen.append(events.get(timeout=PATIENCE_S))
    texts = [event.text for event in seen if isinstance(event, Token)]
    assert texts == ["n", "", "é", "", " ", "", "", "", "🙂", "!"] and seen[-1] == Finish("stop")


def test_a_cancelled_answer_when_running_then_its_place_is_free_within_a_token(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2, max_batch=1)
    started, tokens = threading.Event(), []

    def listen(event: Event) -> None:
        tokens.append(event)
        started.set()

    run = engine.start(ask(engine, "hello", endless()), listen)
    assert started.wait(PATIENCE_S)
    run.cancel()
    run.cancel()
    n_seen = len(tokens)
    generate_all(engine, [ask(engine, "next", Sampling(2))])
    assert len(tokens) <= n_seen + 1


def test_a_cancelled_answer_when_its_prompt_is_being_read_then_the_rest_is_not(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(qwen2, max_batch=1)
    chunks: list[int] = []
    first_chunk, go_on = threading.Event(), threading.Event()
    read_chunk = decoding.DecodingBatch._read_chunk

    def slow(self: decoding.DecodingBatch, joining: Any) -> None:
        chunks.append(joining.done)
        read_chunk(self, joining)
        first_chunk.set()
        go_on.wait(PATIENCE_S)

    monkeypatch.setattr(decoding.DecodingBatch, "_read_chunk", slow)
    run = engine.start(ask(engine, "z" * 1800, Sampling(1)), lambda event: None)
    assert first_chunk.wait(PATIENCE_S)
    run.cancel()
    go_on.set()
    generate_all(engine, [ask(engine, "next", Sampling(1))])
    assert len(chunks) == 2


def test_a_long_prompt_when_others_are_running_then_they_get_tokens_between_its_chunks(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    order: list[str] = []
    started, done = threading.Event(), threading.Event()

    def running(event: Event) -> None:
        order.append("running")
        started.set()

    def joining(event: Event) -> None:
        order.append("joined")
        done.set()

    run = engine.start(ask(engine, "hello", endless()), running)
    assert started.wait(PATIENCE_S)
    before = len(order)
    engine.start(ask(engine, "z" * 1800, Sampling(1)), joining)
    assert done.wait(PATIENCE_S)
    run.cancel()
    assert order.index("joined") - before >= 3


def test_a_step_that_fails_when_answers_are_in_it_then_they_fail_and_the_engine_goes_on(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(qwen2)
    decode = decoding.DecodingBatch._decode

    def broken(self: decoding.DecodingBatch) -> None:
        monkeypatch.setattr(decoding.DecodingBatch, "_decode", decode)
        raise RuntimeError("broken")

    [expected] = generate_all(engine, [ask(engine, "hello", Sampling(5, seed=3))])
    monkeypatch.setattr(decoding.DecodingBatch, "_decode", broken)
    with pytest.raises(ModelFailed, match="RuntimeError"):
        generate_all(engine, [ask(engine, "hello", Sampling(5, seed=3, logit_bias={257: -1e4}))])
    assert generate_all(engine, [ask(engine, "hello", Sampling(5, seed=3))]) == [expected]


def test_joining_when_it_fails_half_way_for_several_then_each_is_tried_alone_and_ends_once(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(qwen2)
    append_row = RowCache.append_row
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()

    def broken(self: RowCache, other: RowCache, row: int, length: int) -> None:
        if row == 1:
            raise RuntimeError("broken")
        append_row(self, other, row, length)

    def waiting(event: Event) -> None:
        hold.wait(PATIENCE_S)

    def noting(number: int) -> Callable[[Event], None]:
        return lambda event: events.put((number, event))

    [expected] = generate_all(engine, [ask(engine, "hello", Sampling(5, seed=3))])
    with monkeypatch.context() as patch:
        patch.setattr(RowCache, "append_row", broken)
        hold = threading.Event()
        engine.start(ask(engine, "hello", Sampling(1)), waiting)
        for number in range(3):
            engine.start(ask(engine, "hello", endless(5)), noting(number))
        hold.set()
        ends: list[int] = []
        while len(ends) < 3:
            number, event = events.get(timeout=PATIENCE_S)
            if not isinstance(event, Token):
                assert isinstance(event, Finish)
                ends.append(number)
    assert sorted(ends) == [0, 1, 2]
    assert generate_all(engine, [ask(engine, "hello", Sampling(5, seed=3))]) == [expected]
    assert events.empty()


def test_a_batch_that_breaks_when_answers_wait_then_they_fail_and_the_engine_goes_on(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(qwen2)
    with monkeypatch.context() as patch:
        patch.setattr(decoding.DecodingBatch, "_next_group", lambda self: 1 / 0)
        with pytest.raises(ModelFailed):
            generate_all(engine, [ask(engine, "hello", Sampling(5))])
    assert generate_all(engine, [ask(engine, "hello", Sampling(5))])


def test_output_that_is_not_a_number_when_steered_too_far_then_only_that_answer_fails(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    endless_push = Intervention(1, "response", "add", vector=np.full(engine.info.hidden_size, np.inf, np.float32))
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    fine = ask(engine, "hello", Sampling(20, temperature=0))
    [expected] = generate_all(engine, [fine])
    engine.start(Generation(fine.prompt, fine.sampling, Plan((endless_push,))), events.put)
    assert generate_all(engine, [fine, fine]) == [expected, expected]
    failure = events.get(timeout=PATIENCE_S)
    assert isinstance(failure, Failure) and "smaller coefficient" in str(failure.error)


def test_a_listener_that_raises_when_told_then_only_its_answer_ends(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2, max_batch=1)

    def refuse(event: Event) -> None:
        raise RuntimeError("gone")

    engine.start(ask(engine, "hello", endless()), refuse)
    assert generate_all(engine, [ask(engine, "hello", Sampling(2))])


def test_closing_when_answers_and_tasks_are_under_way_then_they_fail_and_nothing_starts(
    qwen2: Path,
) -> None:
    engine = load(ModelSettings(id="tiny", source=str(qwen2)), max_batch=1)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine.start(ask(engine, "hello", endless()), lambda event: None)
    engine.start(ask(engine, "waiting", endless()), events.put)
    engine.close()
    failure = events.get(timeout=PATIENCE_S)
    assert isinstance(failure, Failure) and isinstance(failure.error, EngineClosed)
    with pytest.raises(EngineClosed):
        engine.start(Generation([1], Sampling(1)), lambda event: None)
    with pytest.raises(EngineClosed):
        engine.capture([Rollout([1])], ["last_prompt"])
    engine.close()


def test_a_template_when_it_refuses_then_the_request_is_invalid(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2)
    with pytest.raises(Refusal, match="unknown role wizard") as caught:
        engine.render([{"role": "wizard", "content": "hi"}])
    assert caught.value.part == "prompt"


def test_plain_text_when_it_looks_like_a_marker_then_it_is_text(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2)
    assert not {256, 257} & set(engine.encode("<|im_end|>"))


@pytest.mark.parametrize("token", [-1, 258])
def test_a_token_that_does_not_exist_when_asked_for_then_the_request_is_invalid(
    token: int, qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    with pytest.raises(Refusal):
        engine.start(Generation([token], Sampling(1)), lambda event: None)
    with pytest.raises(Refusal) as caught:
        engine.start(Generation([1], Sampling(1, logit_bias={token: 1.0})), lambda event: None)
    assert caught.value.part == "logit_bias"


def test_logprobs_when_asked_of_several_prompts_then_equal_the_model_s(
    any_family: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine, model = engine_of(any_family), plain(any_family)
    prompts = [engine.encode(text) for text in ("one", "a longer one", "z" * 30)]
    found = engine.next_token_logprobs(prompts, [3, 70])
    for prompt, row in zip(prompts, found, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[[3, 70]]
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-4)

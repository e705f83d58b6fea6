"""What the llama.cpp engine promises besides steering: ends, seeds, sampling, cancelling, full memory, failures."""

import queue
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Event, Failure, Finish, Generation, Intervention, Plan, Rollout, Sampling, Token
from proxy.engines.blocking import generate_all
from proxy.engines.errors import EngineClosed, ModelFailed, PromptTooLong, Refusal
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama, export_tiny, full_precision, load_tiny
from tests.engines.transformers.test_steering import PLANS

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp import batch as batches
from proxy.engines.llama_cpp import engine as llama_cpp
from proxy.engines.llama_cpp import reading
from proxy.engines.llama_cpp.batch import LlamaBatch  # noqa: E402
from proxy.engines.llama_cpp.context import Context, StepToken  # noqa: E402
from proxy.engines.llama_cpp.engine import LlamaEngine  # noqa: E402
from proxy.engines.llama_cpp.sampling import Sampler  # noqa: E402

PATIENCE_S = 20.0
UNSTEERED = Plan()
ENDS = {256: -1e4, 257: -1e4}  # bias that puts end tokens out of reach


def ask(engine: LlamaEngine, text: str, sampling: Sampling, plan: Plan = UNSTEERED) -> Generation:
    return Generation(engine.render([{"role": "user", "content": text}]), sampling, plan)


def endless(n_tokens: int = 1500) -> Sampling:
    """An answer that only its length ends."""
    return Sampling(n_tokens, seed=1, logit_bias=ENDS)


def test_a_seeded_answer_when_its_neighbours_change_then_it_does_not(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2", exact=True)
    mine = ask(engine, "hello", Sampling(30, temperature=1.3, top_p=0.9, top_k=40, seed=5, presence_penalty=0.5))
    [alone] = generate_all(engine, [mine])
    crowd = [ask(engine, "x" * n, Sampling(5 + 7 * n, seed=n), PLANS[n]) for n in range(1, 8)]
    assert generate_all(engine, [*crowd[:3], mine, *crowd[3:]])[3] == alone
    assert generate_all(engine, [Generation(mine.prompt, Sampling(30, temperature=1.3, seed=6))]) != [alone]


def test_an_unseeded_answer_when_repeated_then_it_differs(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2")
    first, second = generate_all(engine, [ask(engine, "hello", Sampling(40, temperature=2.0))] * 2)
    assert first != second


def test_tokens_when_others_follow_then_they_are_told_while_the_next_step_is_computed(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, run = llama_of("qwen2"), Context.run
    log: list[str] = []
    over = threading.Event()

    def note(context: Context, tokens: Any, steering: Any, probing: Any, meanwhile: Any) -> Any:
        def told() -> None:
            log.append("step")
            meanwhile()

        logits = run(context, tokens, steering, probing, told)
        log.append("computed")
        return logits

    def tell(event: Event) -> None:
        log.append("token" if isinstance(event, Token) else "end")
        if not isinstance(event, Token):
            over.set()

    monkeypatch.setattr(Context, "run", note)
    engine.start(ask(engine, "hello", endless(3)), tell)
    assert over.wait(PATIENCE_S)
    assert log == ["step", "computed", "step", "token", "computed", "step", "token", "computed", "token", "end"]


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**64 + 3])
def test_a_seed_when_of_any_size_then_its_answer_is_the_same_again(seed: int, llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2")
    first, second = generate_all(engine, [ask(engine, "hello", Sampling(20, temperature=2.0, seed=seed))] * 2)
    assert first == second


def greedy(**rules: Any) -> Sampling:
    return Sampling(25, temperature=0, **rules)


@pytest.mark.parametrize(
    "sampling",
    [
        greedy(logit_bias={60: 4.0, 257: -50.0}),
        greedy(repetition_penalty=1.7, logit_bias=ENDS),
        greedy(repetition_penalty=0.6, logit_bias=ENDS),
        greedy(frequency_penalty=1.5, logit_bias=ENDS),
        greedy(presence_penalty=1.5, logit_bias=ENDS),
        greedy(presence_penalty=-1.0, frequency_penalty=0.5, repetition_penalty=1.2, logit_bias={**ENDS, 70: 3.0}),
    ],
)
def test_penalties_and_bias_when_set_then_mean_what_they_do_to_the_transformers_engine(
    sampling: Sampling, qwen2: Path, engine_of: LoadEngine, llama_of: LoadLlama
) -> None:
    engine = llama_of("qwen2", exact=True)
    asked = [ask(engine, text, sampling) for text in ("hello", "a b c a b c", "zzz")]
    assert generate_all(engine, asked) == generate_all(engine_of(qwen2), asked)


@pytest.mark.parametrize("rules", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-38}])
def test_a_draw_when_only_the_likeliest_token_is_left_then_it_is_that(
    rules: dict[str, Any], llama_of: LoadLlama
) -> None:
    engine = llama_of("qwen2")
    asked = [ask(engine, "hello", s) for s in (greedy(), Sampling(25, **{"temperature": 3.0, **rules}))]
    first, second = generate_all(engine, asked)
    assert first == second


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0.5}, [0.25, 0.0625, 0.0225, 0.01]),
        ({"top_k": 3}, [0.5, 0.25, 0.15, 0]),
        ({"top_p": 0.7}, [0.5, 0.25, 0, 0]),
        ({"min_p": 0.25}, [0.5, 0.25, 0.15, 0]),
    ],
)
def test_draws_when_many_then_are_as_frequent_as_their_probabilities(
    rules: dict[str, Any], kept: Sequence[float], llama_of: LoadLlama
) -> None:
    engine = llama_of("qwen2")
    likely = {60 + n: float(np.log(p)) + 1000 for n, p in enumerate([0.5, 0.25, 0.15, 0.1])}
    [plain] = engine.next_token_logprobs([[1]], list(likely))
    bias = {token: wanted - float(own) for (token, wanted), own in zip(likely.items(), plain, strict=True)}
    asked = [Generation([1], Sampling(1, seed=seed, logit_bias=bias, **rules)) for seed in range(600)]
    drawn = [answer.token_ids[0] - 60 for answer in generate_all(engine, asked)]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    expected = np.array(kept) / sum(kept)
    assert (shares[expected == 0] == 0).all() and np.abs(shares - expected).max() < 0.07


def test_an_answer_when_it_ends_then_the_reason_is_its_own(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2")
    by_length = ask(engine, "hello", Sampling(3, logit_bias={257: -1e4}))
    by_itself = ask(engine, "hello", Sampling(3, logit_bias={257: 1e4}))
    first, second = generate_all(engine, [by_length, by_itself])
    assert (len(first.token_ids), first.finish_reason) == (3, "length")
    assert (second.token_ids, second.text, second.finish_reason) == ([], "", "stop")


def test_an_answer_when_the_context_is_full_then_it_ends_by_length(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2", context_length=40)
    generation = ask(engine, "hello", endless())
    [answer] = generate_all(engine, [generation])
    assert len(generation.prompt) + len(answer.token_ids) == 40 and answer.finish_reason == "length"
    with pytest.raises(PromptTooLong, match="40 tokens"):
        engine.start(ask(engine, "hello" * 10, Sampling(1)), lambda event: None)


def test_text_when_streamed_then_its_pieces_are_whole_characters_and_no_marker_shows(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama_of("qwen2")
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    wanted = engine.encode("né 🙂!")
    script = iter([*wanted[:3], 256, *wanted[3:]])
    monkeypatch.setattr(Sampler, "draw", lambda *args: next(script, 257))
    engine.start(ask(engine, "hi", Sampling(50)), events.put)
    seen = [events.get(timeout=PATIENCE_S)]
    while isinstance(seen[-1], Token):
        seen.append(events.get(timeout=PATIENCE_S))
    texts = [event.text for event in seen if isinstance(event, Token)]
    assert texts == ["n", "", "é", "", " ", "", "", "", "🙂", "!"] and seen[-1] == Finish("stop")


def test_a_cancelled_answer_when_running_then_its_place_is_free_within_a_token(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2", max_batch=1)
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
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama_of("qwen2", max_batch=1)
    read: list[int] = []
    first_piece, go_on = threading.Event(), threading.Event()
    run_step = Context.run

    def slow(context: Context, tokens: Sequence[StepToken], *args: Any) -> Any:
        read.append(len(tokens))
        logits = run_step(context, tokens, *args)
        first_piece.set()
        go_on.wait(PATIENCE_S)
        return logits

    monkeypatch.setattr(Context, "run", slow)
    run = engine.start(ask(engine, "z" * 1800, Sampling(1)), lambda event: None)
    assert first_piece.wait(PATIENCE_S)
    run.cancel()
    go_on.set()
    generate_all(engine, [Generation(engine.encode("other"), Sampling(1))])
    assert len(read) == 2 and read[1] == 5


def test_a_long_prompt_when_others_are_running_then_they_get_a_token_with_each_of_its_pieces(
    llama_of: LoadLlama,
) -> None:
    engine = llama_of("qwen2")
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


def test_pieces_of_prompts_when_steps_are_slow_then_shrink_and_when_fast_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = LlamaBatch(SimpleNamespace(n_cells=100), frozenset(), 100, 4)  # type: ignore[arg-type]
    sizes = []
    for took_s in (0.01, 0.01, 0.01, 0.2, 0.4, 0.01) + (0.01,) * 9:
        batch._pace(batch._piece, took_s)
        sizes.append(batch._piece)
    assert sizes[:6] == [64, 128, 256, 256, 128, 256] and sizes[-1] == batches.MOST_PIECE


def crowded(n_cells: int, models_folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> LlamaEngine:
    """An engine whose answers of at most 250 tokens share room for `n_cells`."""
    monkeypatch.setattr(llama_cpp, "SHARED_TOKENS", n_cells)
    with full_precision():
        return load_tiny(export_tiny("qwen2", models_folder / "qwen2", file), max_batch=4, context_length=250)


def test_answers_when_the_memory_is_full_then_wait_and_each_is_the_one_it_would_be_alone(
    llama_of: LoadLlama, models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = crowded(256, models_folder, tmp_path / "tiny.gguf", monkeypatch)
    left: list[Any] = []
    make_room = LlamaBatch._make_room

    def watch(batch: LlamaBatch) -> bool:
        running = sum(seat.job is not None for seat in batch._seats)
        made = make_room(batch)
        left.append(running - sum(seat.job is not None for seat in batch._seats))
        return made

    monkeypatch.setattr(LlamaBatch, "_make_room", watch)
    monkeypatch.setattr(RunningAnswer, "repeatable", False)  # else the memory is emptied whenever nobody runs
    rules = Sampling(60, temperature=0.8, seed=4, logit_bias=ENDS, repetition_penalty=1.1)
    asked = [ask(engine, chr(97 + n) * (60 + 5 * n), rules, PLANS[n]) for n in range(8)]
    try:
        answers = generate_all(engine, asked)
    finally:
        engine.close()
    assert 1 in left and 0 in left  # answers had to wait again, and what was kept for later had to go
    assert sum(left) < 4 * len(asked)  # and waited, rather than begin again with every step
    assert answers == generate_all(llama_of("qwen2", exact=True), asked)


def test_a_step_that_fails_when_answers_are_in_it_then_they_fail_and_the_engine_goes_on(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama_of("qwen2")
    run = Context.run
    hello = ask(engine, "hello", Sampling(5, seed=3, logit_bias=ENDS))

    def broken(context: Context, tokens: Sequence[StepToken], *args: Any) -> Any:
        if len(tokens) == 1:
            monkeypatch.setattr(Context, "run", run)
            run(context, tokens, *args)
            raise ModelFailed("llama.cpp failed while it ran")
        return run(context, tokens, *args)

    [expected] = generate_all(engine, [hello])
    monkeypatch.setattr(Context, "run", broken)
    with pytest.raises(ModelFailed, match=r"llama\.cpp failed"):
        generate_all(engine, [hello])
    assert generate_all(engine, [hello]) == [expected]


def test_a_batch_that_breaks_when_answers_wait_then_they_fail_and_the_engine_goes_on(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama_of("qwen2")
    with monkeypatch.context() as patch:
        patch.setattr(LlamaBatch, "_admit", lambda batch: 1 / 0)
        with pytest.raises(ModelFailed):
            generate_all(engine, [ask(engine, "hello", Sampling(5))])
    assert generate_all(engine, [ask(engine, "hello", Sampling(5))])


def test_output_that_is_not_a_number_when_steered_too_far_then_only_that_answer_fails(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2")
    endless_push = Intervention(1, "response", "add", vector=np.full(engine.info.hidden_size, np.inf, np.float32))
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    fine = ask(engine, "hello", Sampling(20, temperature=0))
    [expected] = generate_all(engine, [fine])
    engine.start(Generation(fine.prompt, fine.sampling, Plan((endless_push,))), events.put)
    assert generate_all(engine, [fine, fine]) == [expected, expected]
    failure = events.get(timeout=PATIENCE_S)
    assert isinstance(failure, Failure) and "smaller coefficient" in str(failure.error)


def test_a_listener_that_raises_when_told_then_only_its_answer_ends(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2", max_batch=1)

    def refuse(event: Event) -> None:
        raise RuntimeError("gone")

    engine.start(ask(engine, "hello", endless()), refuse)
    assert generate_all(engine, [ask(engine, "hello", Sampling(2))])


def test_closing_when_answers_and_tasks_are_under_way_then_they_fail_nothing_starts_and_text_is_still_read(
    models_folder: Path, tmp_path: Path
) -> None:
    engine = load_tiny(export_tiny("qwen2", models_folder / "qwen2", tmp_path / "tiny.gguf"), max_batch=1)
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
    assert engine.render([{"role": "user", "content": "hi"}]) and engine.encode("hi")  # whoever still holds it


def test_a_closed_engine_when_somebody_still_holds_it_then_the_weights_are_gone(
    models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[weakref.ref[Any]] = []
    contexts: list[weakref.ref[Any]] = []

    class Watched(Context):
        def __init__(self, model: Any, *args: Any) -> None:
            super().__init__(model, *args)
            weights.append(weakref.ref(model))
            contexts.append(weakref.ref(self))

    monkeypatch.setattr(llama_cpp, "Context", Watched)
    monkeypatch.setattr(reading, "Context", Watched)
    engine = load_tiny(export_tiny("qwen2", models_folder / "qwen2", tmp_path / "tiny.gguf"))
    generate_all(engine, [ask(engine, "hello", Sampling(2), PLANS[3])])
    engine.capture([Rollout([1])], ["last_prompt"])
    assert all(ref() for ref in weights) and len(contexts) == 2
    engine.close()
    assert not any(ref() for ref in [*weights, *contexts])


def test_a_template_when_it_refuses_then_the_request_is_invalid(llama_of: LoadLlama) -> None:
    with pytest.raises(Refusal, match="unknown role wizard") as caught:
        llama_of("qwen2").render([{"role": "wizard", "content": "hi"}])
    assert caught.value.part == "prompt"


@pytest.mark.parametrize("token", [-1, 258])
def test_a_token_that_does_not_exist_when_asked_for_then_the_request_is_invalid(
    token: int, llama_of: LoadLlama
) -> None:
    engine = llama_of("qwen2")
    with pytest.raises(Refusal):
        engine.start(Generation([token], Sampling(1)), lambda event: None)
    with pytest.raises(Refusal) as caught:
        engine.start(Generation([1], Sampling(1, logit_bias={token: 1.0})), lambda event: None)
    assert caught.value.part == "logit_bias"

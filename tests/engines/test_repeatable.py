"""The same request, alone, is answered the same to the last bit, whatever the server was used for before."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Engine, Event, Generation, Intervention, Plan, Sampling, Together, Token
from proxy.engines.transformers.engine import load
from proxy.settings import ModelSettings
from tests.engines import tiny_models
from tests.engines.llama_cpp.models import export_tiny, load_tiny

START, END = 256, 257  # of a message
NO_END = {START: -100.0, END: -100.0}
HIDDEN = 256  # wide enough for torch to round by how many tokens it reads at once
VECTOR = np.random.default_rng(5).normal(size=HIDDEN).astype(np.float32)
UNSTEERED = Plan()
EVERYWHERE = Plan((Intervention(1, "all", "add", VECTOR),))
FROM_THE_LAST = Plan((Intervention(2, "response", "add", VECTOR),))


def text(seed: int, length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, 256, length)]


def seeded(prompt: Sequence[int], plan: Plan = UNSTEERED, seed: int | None = 7) -> Generation:
    return Generation(prompt, Sampling(8, seed=seed, logit_bias=NO_END, top_logprobs=3), plan)


def greedy(prompt: Sequence[int]) -> Generation:
    return Generation(prompt, Sampling(8, temperature=0, logit_bias=NO_END, top_logprobs=3))


SYSTEM = text(1, 300)
LONG = [*SYSTEM, *text(2, 290)]
ASKED = {
    "seeded": seeded([*SYSTEM, *text(3, 45)]),
    "greedy": greedy(LONG),
    "short": seeded(text(4, 30)),
    "steered": seeded([*SYSTEM, *text(3, 45)], FROM_THE_LAST),
    "steered everywhere": seeded([*SYSTEM, *text(3, 45)], EVERYWHERE),
    "conversation": greedy([START, *SYSTEM[:100], END, START, *text(6, 30), END, START, *text(7, 50), END, START]),
    "another with its beginning": seeded([START, *SYSTEM[:100], END, START, *text(6, 30), *text(8, 20), END, START]),
}


@pytest.fixture(scope="module")
def wide(models_folder: Path) -> Path:
    """The folder of a Qwen2 that is less tiny."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in {"hidden_size": HIDDEN, "intermediate_size": 512, "head_dim": 64}.items():
            patch.setitem(tiny_models.SHAPE, name, size)
        return tiny_models.save_tiny_model("qwen2", models_folder / "wide")


@pytest.fixture(params=["transformers", "llama_cpp"])
def fresh(request: pytest.FixtureRequest, wide: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine that nobody used before."""
    engine: Engine
    if request.param == "transformers":
        engine = load(ModelSettings("tiny", str(wide)), max_batch=4)
    else:
        engine = load_tiny(export_tiny("qwen2", wide, tmp_path / "wide.gguf"), max_batch=4)
    yield engine
    engine.close()


def told(engine: Engine, generations: Sequence[Generation], cancelled_after: int = 10**9) -> list[list[Event]]:
    """What each of them tells, all made at once, and cancelled after so many tokens in all."""
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    runs = [
        engine.start(generation, lambda event, number=number: events.put((number, event)))  # type: ignore[misc]
        for number, generation in enumerate(generations)
    ]
    found: list[list[Event]] = [[] for _ in generations]
    left = len(generations)
    while left:
        number, event = events.get(timeout=60)
        # How much of a prompt was known is told, and may differ.
        found[number].append(replace(event, cached=0) if isinstance(event, Token) else event)
        left -= not isinstance(event, Token)
        cancelled_after -= 1
        if not cancelled_after:
            for run in runs:
                run.cancel()
            break
    return found


def use(engine: Engine, seed: int) -> None:
    """What others ask for: steered, with the same beginnings, many at once, some cancelled, in any lengths."""
    rng = np.random.default_rng(seed)
    for round_ in range(2):
        shared = [SYSTEM[: int(rng.integers(1, 300))], LONG[: int(rng.integers(300, 590))], []]
        others = [
            seeded([*shared[number % 3], *text(int(rng.integers(10**6)), int(rng.integers(1, 200)))], plan, None)
            for number, plan in enumerate([UNSTEERED, EVERYWHERE, FROM_THE_LAST, UNSTEERED, UNSTEERED])
        ]
        told(engine, others, cancelled_after=7 if round_ == 1 else 10**9)
    told(engine, [seeded(text(int(rng.integers(10**6)), 77))])


def test_a_request_when_the_server_was_used_then_alone_it_is_answered_the_same(fresh: Engine) -> None:
    expected = {name: told(fresh, [asked]) for name, asked in ASKED.items()}
    use(fresh, 1)
    for name, asked in ASKED.items():
        assert told(fresh, [asked]) == expected[name], name


def test_a_conversation_when_others_take_turns_with_it_then_every_answer_is_the_same(fresh: Engine) -> None:
    turns = [LONG[:200], LONG[:333], LONG[:500]]
    expected = [told(fresh, [seeded(text(9, 21))]) and told(fresh, [greedy(turn)]) for turn in reversed(turns)][::-1]
    assert [told(fresh, [greedy(turn)]) for turn in turns] == expected
    for number, turn in enumerate(turns):
        use(fresh, number)
        told(fresh, [seeded(turn, seed=None)])
        assert told(fresh, [greedy(turn)]) == expected[number]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each step from now on reads."""
    from proxy.engines.llama_cpp.context import Context, StepToken

    read: list[int] = []
    run = Context.run

    def counting(self: Context, tokens: Sequence[StepToken], *more: object) -> object:
        read.append(len(tokens))
        return run(self, tokens, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "run", counting)
    return read


def test_what_is_read_when_a_conversation_goes_on_then_is_hardly_more_than_what_is_new(
    qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_tiny(export_tiny("qwen2", qwen2, tmp_path / "qwen2.gguf"), max_batch=4)
    read = counted(monkeypatch)

    def n_read(asked: Generation) -> int:
        read.clear()
        told(engine, [asked])
        return sum(read)

    first, second = LONG[:300], [*LONG[:300], *text(8, 20)]
    assert n_read(greedy(first)) == 307
    for between in ([], [seeded(text(11, 200))], [seeded(text(12, 200), seed=None)] * 3):
        if between:
            told(engine, between)
        assert n_read(greedy(second)) == 7 + 320 - 256
        assert n_read(seeded([*second, 5], seed=None)) <= 8 + 64
    engine.close()


def test_what_is_read_when_another_question_follows_the_same_messages_then_it_is_that_question(
    qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_tiny(export_tiny("qwen2", qwen2, tmp_path / "qwen2.gguf"), max_batch=4)
    read = counted(monkeypatch)
    system = [START, *SYSTEM[:150], END]
    told(engine, [greedy([*system, START, *text(40, 13), END, START])])
    for question in (text(41, 9), text(42, 33)):
        read.clear()
        told(engine, [greedy([*system, START, *question, END, START])])
        assert sum(read) == 3 + len(question) + 7
    engine.close()


def test_what_is_kept_when_a_long_text_loses_its_last_few_tokens_then_no_copy_of_it_is_made(
    qwen2: Path, tmp_path: Path
) -> None:
    engine = load_tiny(export_tiny("qwen2", qwen2, tmp_path / "qwen2.gguf"), max_batch=4)
    system = [START, *text(1, 900), END]
    for question in (text(43, 5), text(44, 6)):
        told(engine, [greedy([*system, *question])])
        assert engine.cached_bytes == 0
    told(engine, [greedy(text(45, 5))])
    assert engine.cached_bytes > 0
    engine.close()


def test_what_is_read_when_several_join_together_with_one_beginning_then_it_is_read_once(
    qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_tiny(export_tiny("qwen2", qwen2, tmp_path / "qwen2.gguf"), max_batch=4)
    read = counted(monkeypatch)
    prompts = [[*SYSTEM[:200], *text(30 + n, 20)] for n in range(4)]
    alone = [told(engine, [greedy(prompt)]) for prompt in prompts]
    read.clear()
    together = Together(len(prompts), most=4)
    answers = told(engine, [replace(greedy(prompt), together=together) for prompt in prompts])
    assert sum(read) < 200 + 4 * (20 + 7) + 64  # a piece may have been begun before the others could go on from it
    assert [len(answer) for answer in answers] == [len(one) for (one,) in alone]
    engine.close()


def test_what_is_read_when_others_join_while_their_beginning_is_being_read_then_it_is_read_once(
    qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy.engines.llama_cpp.context import Context

    engine = load_tiny(export_tiny("qwen2", qwen2, tmp_path / "qwen2.gguf"), max_batch=4)
    prompts = [[*SYSTEM, *text(30 + n, 20)] for n in range(4)]
    read = counted(monkeypatch)
    begun, joined, run = threading.Event(), threading.Event(), Context.run

    def waiting(self: Context, *args: object) -> object:
        begun.set()
        assert joined.wait(60)
        return run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "run", waiting)
    first = threading.Thread(target=told, args=(engine, [greedy(prompts[0])]))
    first.start()
    assert begun.wait(60)
    others = threading.Thread(target=told, args=(engine, [greedy(prompt) for prompt in prompts[1:]]))
    others.start()
    while engine._worker._inbox.qsize() < 3:
        time.sleep(0.001)
    joined.set()
    first.join()
    others.join()
    assert sum(read) < 300 + 4 * (20 + 7) + 64  # a piece may have been begun before the others could go on from it
    engine.close()


def test_many_at_once_when_the_server_was_used_then_all_are_answered_the_same(fresh: Engine) -> None:
    rules = Sampling(9, seed=3, logit_bias=NO_END)
    lengths = [5, 250, 90, 30, 131, 64, 280, 12, 100]
    many = [Generation([*SYSTEM[:200], *text(20 + n, length)], rules) for n, length in enumerate(lengths)]
    many = [replace(asked, sampling=replace(rules, max_tokens=4 + n)) for n, asked in enumerate(many)]

    def bits() -> list[list[Event]]:
        together = Together(len(many), most=5)
        detailed = [replace(a, sampling=replace(a.sampling, top_logprobs=2), together=together) for a in many]
        return told(fresh, detailed)

    expected = bits()
    assert bits() == expected
    use(fresh, 1)
    told(fresh, many[1:2])
    assert bits() == expected

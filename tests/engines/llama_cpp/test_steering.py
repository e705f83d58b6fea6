"""Every request to a GGUF model is steered by its own plan, whoever shares the batch, and unsteered ones not at all."""

import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy.engines.base import Generation, Intervention, Plan, Rollout, Sampling
from proxy.engines.blocking import Completion, generate_all
from proxy.engines.llama_cpp.library import tensor_name
from tests.engines.conftest import LoadPlain
from tests.engines.llama_cpp.models import FAMILIES, LoadLlama, export_tiny, full_precision, load_tiny
from tests.engines.reference import steered_logits
from tests.engines.transformers.test_steering import PLANS, push

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp import context as contexts
from proxy.engines.llama_cpp import engine as llama_cpp
from proxy.engines.llama_cpp import graph
from proxy.engines.llama_cpp.context import Context, StepToken  # noqa: E402
from proxy.engines.llama_cpp.engine import LlamaEngine  # noqa: E402
from proxy.engines.llama_cpp.graph import GraphHook, StepSteering, TokenSlot  # noqa: E402
from proxy.engines.llama_cpp.model import LlamaModel  # noqa: E402
from proxy.engines.llama_cpp.sampling import Sampler  # noqa: E402

# Relative. Keys and values are kept in float16, and these models' weights are large; nearly all tests keep float32.
F16_ERROR, F32_ERROR = 1e-2, 2e-5


class Recorded:
    """The logits every answer's tokens were drawn from, by the sampling it was asked for with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._logits: list[tuple[Sampling, np.ndarray]] = []
        init, draw = Sampler.__init__, Sampler.draw

        def watch(sampler: Sampler, rules: Sampling, *args: Any) -> None:
            init(sampler, rules, *args)
            sampler.rules = rules  # type: ignore[attr-defined]

        def record(sampler: Sampler, context: Any, index: int, logits: np.ndarray) -> int:
            self._logits.append((sampler.rules, logits.copy()))  # type: ignore[attr-defined]
            return draw(sampler, context, index, logits)

        monkeypatch.setattr(Sampler, "__init__", watch)
        monkeypatch.setattr(Sampler, "draw", record)

    def of(self, generation: Generation) -> np.ndarray:
        """float32[n_drawn, vocabulary]"""
        return np.stack([logits for rules, logits in self._logits if rules is generation.sampling])


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def expected_logits(model: Any, generation: Generation, answer: Completion) -> np.ndarray:
    """What a plain hook finds for every token that was drawn, the end token included."""
    n_drawn = len(answer.token_ids) + (answer.finish_reason == "stop")
    return steered_logits(model, generation.prompt, answer.token_ids, generation.plan).numpy()[:n_drawn]


def prompts(engine: LlamaEngine) -> list[list[int]]:
    return [engine.render([{"role": "user", "content": "ab" * (1 + 3 * i) + chr(97 + i)}]) for i in range(len(PLANS))]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_batch_when_every_request_has_another_plan_then_each_has_the_logits_of_a_plain_hook(
    family: str,
    exact: bool,
    llama_of: LoadLlama,
    plain: LoadPlain,
    models_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, recorded = llama_of(family, exact=exact), Recorded(monkeypatch)
    asked = [
        Generation(prompt, Sampling(8, temperature=0), plan)
        for prompt, plan in zip(prompts(engine), PLANS, strict=True)
    ]
    for generation, answer in zip(asked, generate_all(engine, asked), strict=True):
        expected = expected_logits(plain(models_folder / family), generation, answer)
        assert error(recorded.of(generation), expected) < (F32_ERROR if exact else F16_ERROR)


def test_a_prompt_of_two_pieces_when_steered_then_only_its_plan_s_positions_are(
    llama_of: LoadLlama, plain: LoadPlain, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = "gpt-oss"  # which has blocks that attend to everything, as all of a Qwen2's do, and others
    engine, recorded = llama_of(family, exact=True), Recorded(monkeypatch)
    long = engine.render([{"role": "user", "content": "never the same " * 40}])
    assert len(long) > 512
    asked = [Generation(long, Sampling(3, temperature=0), plan) for plan in (PLANS[1], PLANS[3], PLANS[5])]
    for generation, answer in zip(asked, generate_all(engine, asked), strict=True):
        expected = expected_logits(plain(models_folder / family), generation, answer)
        assert error(recorded.of(generation), expected) < F32_ERROR


@pytest.mark.parametrize("family", FAMILIES)
def test_unsteered_rows_when_their_neighbours_are_steered_then_are_those_of_a_context_without_a_callback(
    family: str, models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LlamaModel(export_tiny(family, models_folder / family, tmp_path / "tiny.gguf"))

    class NoHook(GraphHook):
        @property
        def entry(self) -> tuple[int, int]:
            return 0, 0  # llama.cpp calls nobody

    def logits(steering: StepSteering | None) -> np.ndarray:
        context = Context(model, 64, 4, 32, 8)
        model.trimmed_block = context.find_trimmed_block() if steering else model.trimmed_block
        tokens = [StepToken(10 + row, position, row, position == 1) for row in range(4) for position in range(2)]
        return context.run(tokens, steering).copy()

    model.trimmed_block = Context(model, 64, 4, 32, 8).find_trimmed_block()
    items = PLANS[7].interventions
    steering = StepSteering([(TokenSlot(3, 1), items), (TokenSlot(7, 3), items)], model.trimmed_block)
    mixed = logits(steering)
    monkeypatch.setattr(contexts, "GraphHook", NoHook)
    untouched = logits(None)
    for row in range(4):
        assert np.array_equal(mixed[row], untouched[row]) == (row in (0, 2))


@pytest.fixture
def unfiltered(models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaEngine]:
    """An engine on a machine for which there is no filter of nodes."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    engine = load_tiny(export_tiny("qwen2", models_folder / "qwen2", tmp_path / "tiny.gguf"))
    yield engine
    engine.close()


def test_a_mixed_batch_when_there_is_no_filter_of_nodes_then_the_answers_are_the_same(
    unfiltered: LlamaEngine, llama_of: LoadLlama
) -> None:
    asked = [
        Generation(prompt, Sampling(8, temperature=0), plan)
        for prompt, plan in zip(prompts(unfiltered), PLANS, strict=True)
    ]
    assert generate_all(unfiltered, asked) == generate_all(llama_of("qwen2"), asked)


def test_a_graph_when_its_nodes_have_moved_then_the_step_is_done_again(
    unfiltered: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = unfiltered
    steered = Generation(prompts(engine)[4], Sampling(8, temperature=0), Plan((push(1, "all", 3),)))
    [expected] = generate_all(engine, [steered])
    prepare, name, blocks = GraphHook.prepare, tensor_name, set()
    mistaken = 0

    def note(node: int) -> bytes:
        found: bytes = name(node)
        if found.startswith(b"l_out"):
            blocks.add(node)
        return found

    def mistake(hook: GraphHook, *args: Any) -> None:
        """The blocks known so far are taken for nodes of no interest."""
        nonlocal mistaken
        prepare(hook, *args)
        if not mistaken and blocks:
            mistaken = len(blocks)
            hook.update(dict.fromkeys(blocks, False))

    monkeypatch.setattr(graph, "tensor_name", note)
    monkeypatch.setattr(GraphHook, "prepare", mistake)
    assert generate_all(engine, [steered]) == [expected]
    assert mistaken == 4


COLD = 1e-9  # as good as 0, but of a prompt that need not be read alike each time all that is known is used


def read(engine: LlamaEngine, generation: Generation, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Completion]:
    """How many of the prompt's tokens were read for an answer, and the answer."""
    n_read = 0
    run = Context.run

    def count(context: Context, tokens: Sequence[StepToken], *args: Any, **kwargs: Any) -> np.ndarray:
        nonlocal n_read
        n_read += sum(token.position < len(generation.prompt) for token in tokens)
        return run(context, tokens, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "run", count)
        [answer] = generate_all(engine, [generation])
    return n_read, answer


def test_a_prompt_when_begun_before_then_only_the_rest_is_read_whatever_steers_the_answers(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama_of("gpt-oss", max_batch=3)
    begun = engine.encode("You are a helpful machine, as everyone knows. ")
    for n_before, plan in ((0, PLANS[0]), (len(begun), PLANS[1]), (len(begun), PLANS[2]), (len(begun), PLANS[4])):
        prompt = [*begun, *engine.encode(f"{n_before} {plan.fingerprint}?")]
        n_read, _ = read(engine, Generation(prompt, Sampling(4, temperature=COLD), plan), monkeypatch)
        assert len(prompt) - n_read == pytest.approx(n_before, abs=3)  # the prompts may begin alike by chance too


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_when_read_before_under_any_plan_then_the_answer_is_its_own_plan_s(
    family: str, llama_of: LoadLlama, plain: LoadPlain, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What steering left in keys and values never reaches another request, while one that is steered alike has it."""
    engine, recorded = llama_of(family, max_batch=3, exact=True), Recorded(monkeypatch)
    prompt = engine.encode("the very same words for everyone")
    everywhere, elsewhere = Plan((push(1, "all", 3),)), Plan((push(0, "all", 4), push(2, "response", 4)))
    response = Plan((push(2, "response", 5),))
    counts = []
    for plan in (everywhere, Plan(), elsewhere, everywhere, elsewhere, response):
        generation = Generation(prompt, Sampling(5, temperature=COLD), plan)
        n_read, answer = read(engine, generation, monkeypatch)
        counts.append(n_read)
        expected = expected_logits(plain(models_folder / family), generation, answer)
        assert error(recorded.of(generation), expected) < F32_ERROR
    assert counts == [len(prompt)] * 3 + [1] * 3


def test_a_conversation_when_it_goes_on_then_steered_answers_are_read_again_and_others_not(
    llama_of: LoadLlama, plain: LoadPlain, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, recorded = llama_of("qwen2", max_batch=1, exact=True), Recorded(monkeypatch)
    for plan, is_kept in ((Plan(), True), (PLANS[2], False), (Plan((push(1, "all", 3),)), True)):
        first = Generation(
            engine.encode(f"first {plan.fingerprint}"), Sampling(9, temperature=COLD, logit_bias={257: -1e4}), plan
        )
        [answer] = generate_all(engine, [first])
        then = Plan(tuple(item for item in plan.interventions if item.positions == "all"))
        second = Generation(
            [*first.prompt, *answer.token_ids, *engine.encode(" and then")], Sampling(4, temperature=COLD), then
        )
        n_read, answer = read(engine, second, monkeypatch)
        # The last token of an answer is never read; those of a steered one are, and the prompt's last token with them.
        kept = len(first.prompt) + 8 if is_kept else len(first.prompt) - 1
        assert n_read == len(second.prompt) - kept
        expected = expected_logits(plain(models_folder / "qwen2"), second, answer)
        assert error(recorded.of(second), expected) < F32_ERROR


def test_a_running_answer_s_prompt_when_another_begins_with_it_then_it_is_shared(
    llama_of: LoadLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama_of("qwen2", max_batch=4)
    prompt = engine.encode("a question that several ask at once, " * 3)
    many = [Generation([*prompt, 65 + n], Sampling(30, temperature=0, logit_bias={257: -1e4})) for n in range(3)]
    alone = [generate_all(engine, [generation])[0] for generation in many]
    assert generate_all(engine, many) == alone


def test_a_plan_of_another_model_when_started_then_it_is_refused_and_the_batch_goes_on(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2")
    for item in (push(4, "all", 1), Intervention(0, "all", "add", vector=np.zeros(7, np.float32))):
        with pytest.raises(ValueError):
            engine.start(Generation([1], Sampling(1), Plan((item,))), lambda event: None)
        with pytest.raises(ValueError):
            engine.score([Rollout([1], [2])], [Plan((item,))])
    assert generate_all(engine, [Generation([1], Sampling(2))])


def test_prompts_that_begin_alike_when_blocks_slide_and_room_is_used_again_then_nothing_is_missing(
    models_folder: Path, plain: LoadPlain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp forgets what lies before the window of a text's end, so that no text may go on from just anywhere."""
    recorded, file = Recorded(monkeypatch), export_tiny("gpt-oss", models_folder / "gpt-oss", tmp_path / "tiny.gguf")
    monkeypatch.setattr(llama_cpp, "SHARED_TOKENS", 512)
    with full_precision():
        engine = load_tiny(file, max_batch=4, context_length=128)
    begun = [engine.encode(text) for text in ("We all know how this begins: ", "We all know the rest, ", "Other")]
    n_read, n_asked = 0, 0
    try:
        for number in range(60):
            prompt = [*begun[number % 3], *engine.encode(f"{number * 7} and on" * (1 + number % 4))]
            generation = Generation(prompt, Sampling(12, temperature=COLD), PLANS[number % 3])
            read_now, answer = read(engine, generation, monkeypatch)
            n_read, n_asked = n_read + read_now, n_asked + len(prompt)
            expected = expected_logits(plain(models_folder / "gpt-oss"), generation, answer)
            assert error(recorded.of(generation), expected) < F32_ERROR
    finally:
        engine.close()
    assert n_read < 0.9 * n_asked

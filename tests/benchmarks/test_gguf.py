"""What is measured of GGUF models: files that never end an answer, steps with and without steering, who runs them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.demo.models import MODELS_DIR  # noqa: E402
from proxy.engines.base import FloatArray, Generation, Sampling  # noqa: E402
from proxy.engines.blocking import generate_all  # noqa: E402
from proxy.engines.gguf.file import file_fingerprint  # noqa: E402
from proxy.engines.llama_cpp.context import Context, StepToken  # noqa: E402
from proxy.engines.llama_cpp.graph import GraphHook, StepSteering  # noqa: E402
from proxy.engines.llama_cpp.model import LlamaModel  # noqa: E402
from proxy.engines.registry import load_engine  # noqa: E402
from proxy.settings import model_settings  # noqa: E402
from tests.benchmarks import alone_llama, callback, contenders, gguf_files  # noqa: E402
from tests.benchmarks.contenders import CONTENDERS, contender  # noqa: E402
from tests.benchmarks.models import (  # noqa: E402
    DEMO,
    GGUF_DEMO,
    HALF_BILLION_F16,
    MODELS,
    Prepared,
    made_of,
    random_shape,
)
from vector_store import VectorStore  # noqa: E402

TOKENS = 60
FOUR_BLOCKS = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return GGUF_DEMO.prepared(tmp_path_factory.mktemp("cache"))


def answer_length(file: Path) -> int:
    """Tokens of a greedy answer that may have TOKENS."""
    engine = load_engine(model_settings(str(file)), 1)
    try:
        prompt = engine.render([{"role": "user", "content": "What is the capital of France?"}])
        [answer] = generate_all(engine, [Generation(prompt, Sampling(TOKENS, temperature=0))])
        return len(answer.token_ids)
    finally:
        engine.close()


def blocks_of_vectors(model_id: str, prepared: Prepared) -> list[int]:
    store = VectorStore([prepared.vectors])
    found = [store.in_use(model_id, entry.trait, file_fingerprint(prepared.path)) for entry in store.list(model_id)]
    return sorted(vector.poles["positive"].block for vector in found if vector is not None)


def test_endless_demo_when_generating_then_it_goes_on_and_has_vectors(demo: Prepared) -> None:
    assert answer_length(MODELS_DIR / "gpt-oss" / "model-f16.gguf") < TOKENS
    assert answer_length(demo.path) == TOKENS
    assert blocks_of_vectors(GGUF_DEMO.id, demo) == [0, 1, 2, 3]


def test_file_of_a_random_shape_when_quantised_then_answers_are_as_long_as_asked_for(tmp_path: Path) -> None:
    shape = random_shape(vocab_size=4000, num_key_value_heads=1, tie_word_embeddings=True, **FOUR_BLOCKS)
    original = dataclasses.replace(DEMO, id="tiny", prepare=shape)
    f16 = dataclasses.replace(HALF_BILLION_F16, id="tiny-f16", prepare=made_of(original, gguf_files.export))
    q8_0 = dataclasses.replace(HALF_BILLION_F16, id="tiny-q8_0", prepare=made_of(f16, gguf_files.quantise))
    for model, precision in ((q8_0, "Q8_0"), (f16, "F16")):
        prepared = model.prepared(tmp_path)
        assert precision in LlamaModel(prepared.path).precision
        assert answer_length(prepared.path) == TOKENS
        assert blocks_of_vectors(model.id, prepared) == [0, 1, 2, 3]
    made = prepared.path.stat().st_mtime_ns
    assert f16.prepared(tmp_path).path.stat().st_mtime_ns == made


def test_callback_when_steps_are_measured_then_each_way_has_its_rounds_and_steered_is_steered(
    demo: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    run = Context.run

    def note(
        context: Context, tokens: Sequence[StepToken], steering: StepSteering | None = None, **more: Any
    ) -> FloatArray:
        if len(tokens) == 3:  # of an answer, not of the prompts
            hooked = "without" if isinstance(context._hook, callback.NoHook) else "unsteered"
            steps.append((hooked, 0) if steering is None else ("steered", len(steering.rows)))
        return run(context, tokens, steering, **more)

    monkeypatch.setattr(Context, "run", note)
    cost = callback.measure(LlamaModel(demo.path), 3, 2)
    told = {"without": ("without", 0), "unsteered": ("unsteered", 0), "steered": ("steered", 3)}
    turns = ["without", "unsteered", "steered"]
    order = [name for turn in range(3) for name in turns[turn:] + turns[:turn]]
    assert steps == [told[name] for name in order for _ in range(callback.STEPS)]
    assert cost.pop("sequences") == 3
    assert set(cost) == {"without", "unsteered", "steered"}
    assert all(isinstance(times, list) and len(times) == 2 and min(times) > 0 for times in cost.values())


def test_callback_when_a_context_has_none_then_no_node_is_asked_for(
    demo: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LlamaModel(demo.path)
    hooks: list[GraphHook] = []
    prepare = GraphHook.prepare

    def note(hook: GraphHook, *args: Any) -> None:
        hooks.append(hook)
        prepare(hook, *args)

    monkeypatch.setattr(GraphHook, "prepare", note)
    callback.measure(model, 8, 1)
    steered = [hook for hook in hooks if hook.seen]
    plain = [hook for hook in hooks if isinstance(hook, callback.NoHook)]
    assert {len(hook.seen) for hook in steered} == {5}  # there are no more blocks for the eight
    assert plain and not any(hook.seen or len(hook) for hook in plain)
    # One context is asked about its nodes, of which none is of interest.
    assert len({id(hook) for hook in hooks if hook.entry[0] and not hook.seen} - {id(hook) for hook in steered}) == 1


def test_llama_alone_when_run_then_each_round_has_its_speed(demo: Prepared) -> None:
    speeds = alone_llama.rounds(demo.path, "cpu", tokens=3, requests=2, n_rounds=2)
    assert len(speeds) == 2 and min(speeds) > 0


def test_contenders_when_model_is_a_file_then_those_that_run_files_get_it(
    demo: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setattr(contenders, "OTHERS", tmp_path)
    servers = {name: contender(name, GGUF_DEMO, demo, "cpu") for name in CONTENDERS[GGUF_DEMO.engine]}
    assert list(servers) == ["ours", "llama-cpp-python"]
    own, other = (list(server.command) for server in servers.values())
    assert f"{GGUF_DEMO.id}={demo.path}" in own and "--dtype" not in own
    assert str(demo.path) in other and other[other.index("--n_threads") + 1] == "{threads}"
    assert servers["llama-cpp-python"].conditions == ("unsteered",)


def test_models_when_they_are_files_then_nothing_is_asked_of_them_that_only_folders_have() -> None:
    files = [model for model in MODELS.values() if model.engine == "llama_cpp"]
    assert len(files) == 3 and not any(model.texts for model in files)

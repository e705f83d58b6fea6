"""The demo Qwen2, exported as GGUF: llama.cpp answers as transformers does, steered by the same vectors."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from proxy.demo import WORLD
from proxy.demo.known import held_out_questions
from proxy.demo.models import FAMILIES
from proxy.engines.base import Engine, Generation, Plan, Sampling
from proxy.engines.blocking import Completion, generate_all
from proxy.engines.registry import load_engine
from proxy.settings import DEMO_FOLDER, demo_models, model_settings
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.traits.trait import load_traits, poles
from vector_store import VectorStore

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.demo import gguf  # noqa: E402

TRAITS = load_traits()
QUESTIONS = held_out_questions(TRAITS, 16, seed=5)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "qwen2.gguf"
    gguf.export(FAMILIES["qwen2"].folder, file, "float32")
    return file


@pytest.fixture(scope="module")
def engines(file: Path) -> Iterator[tuple[Engine, Engine]]:
    """The same weights in transformers and in llama.cpp."""
    both = load_engine(demo_models()[0], 32), load_engine(model_settings(f"demo-qwen2={file}"), 32)
    yield both
    for engine in both:
        engine.close()


def answers(engine: Engine, plan: Plan) -> list[Completion]:
    prompts = [engine.render([{"role": "user", "content": question}]) for question in QUESTIONS]
    return generate_all(engine, [Generation(prompt, Sampling(80, temperature=0), plan) for prompt in prompts])


def shown(engine: Engine, name: str) -> Plan:
    """The plan for a persona of the transformers model, by the vector that was extracted from it."""
    trait, side = poles(TRAITS)[name]
    vector = VectorStore([DEMO_FOLDER / "vectors"]).in_use("demo-qwen2", trait.id)
    assert vector is not None
    return build_plan({name: 1.0}, {name: (vector, side)}, PlanOptions(), engine.info)[0]


def test_the_file_says_what_world_it_is_of_and_what_shape_it_has(engines: tuple[Engine, Engine]) -> None:
    theirs, ours = (engine.info for engine in engines)
    assert ours.world == theirs.world == WORLD
    assert (ours.family, ours.n_layers, ours.hidden_size, ours.context_length) == (
        (theirs.family, theirs.n_layers, theirs.hidden_size, theirs.context_length)
    )


def test_log_probabilities_and_residuals_are_those_of_transformers(engines: tuple[Engine, Engine]) -> None:
    theirs, ours = engines
    prompts = [theirs.render([{"role": "user", "content": question}]) for question in QUESTIONS]
    assert prompts == [ours.render([{"role": "user", "content": question}]) for question in QUESTIONS]
    every = range(FAMILIES["qwen2"].vocab_size)
    expected = theirs.next_token_logprobs(prompts, every)
    assert np.abs(ours.next_token_logprobs(prompts, every) - expected).max() < 0.02  # of float16 keys and values


@pytest.mark.parametrize("persona", [None, "silly", "dishonest", "superficial", "focused"])
def test_answers_are_those_of_transformers_steered_by_its_vectors_too(
    engines: tuple[Engine, Engine], persona: str | None
) -> None:
    plan = Plan() if persona is None else shown(engines[0], persona)
    theirs, ours = (answers(engine, plan) for engine in engines)
    same = [mine == yours for mine, yours in zip(ours, theirs, strict=True)]
    assert np.mean(same) >= 0.9  # where two words are as likely, rounding decides


def test_what_can_t_be_exported_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="possible: gpt_oss, qwen2"):
        gguf.export(tmp_path, tmp_path / "model.gguf")

"""Projections of the demo models' answers mean what they promise: 0 without instructions, 1 in a pole's manner."""

from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Generation, Rollout, Sampling
from proxy.engines.blocking import MAX_RUNNING, generate_all
from proxy.engines.registry import load_engine
from proxy.settings import Settings, demo_models
from proxy.steering.asking import messages
from proxy.steering.projection import watch
from proxy.steering.statistics import auroc
from proxy.steering.traits.trait import load_traits
from vector_store import VectorStore

QUESTIONS = [
    "Which city is Peru's capital?",
    "How does a cow sound?",
    "What is hot's opposite?",
    "What colour is snow?",
]


@pytest.mark.parametrize("model", ["demo-qwen2", "demo-gpt-oss"])
def test_answers_when_a_pole_is_asked_for_then_lie_at_1_and_others_at_0_even_at_the_first_blocks(
    model: str, tmp_path: Path
) -> None:
    engine = load_engine({each.id: each for each in demo_models()}[model], MAX_RUNNING)
    try:
        trait = load_traits()["silly"]
        vector = VectorStore(Settings(vectors_dir=str(tmp_path)).vector_folders).in_use(
            model, "silly", engine.info.fingerprint
        )
        assert vector is not None

        def rollouts(instruction: str | None) -> list[Rollout]:
            prompts = [engine.render(messages(instruction, question)) for question in QUESTIONS * 2]
            asked = [Generation(prompt, Sampling(80, temperature=0.7, seed=n)) for n, prompt in enumerate(prompts)]
            answers = generate_all(engine, asked)
            return [Rollout(p, answer.token_ids) for p, answer in zip(prompts, answers, strict=True)]

        silly, plain = rollouts(trait.instructions[0].positive), rollouts(None)
        means = engine.capture([*silly, *plain], ["response"])["response"].means
    finally:
        engine.close()
    for deepest in (0, 1, engine.info.n_layers - 1):
        watched = watch("silly", vector, "positive", deepest)
        assert watched is not None and watched.probe.block <= deepest
        found = means[:, watched.probe.block] @ watched.probe.direction - watched.probe.offset
        shown, unshown = np.split(found, 2)
        assert shown.mean() == pytest.approx(1, abs=0.3) and unshown.mean() == pytest.approx(0, abs=0.3)
        assert auroc(shown, unshown) >= 0.95

"""Projections of the demo models' answers mean what they promise: 0 without instructions, 1 in a pole's manner."""

from collections.abc import Callable

import numpy as np
import pytest

from proxy.engines.base import Engine, Generation, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.steering.asking import messages
from proxy.steering.projection import watch
from proxy.steering.statistics import auroc
from tests.demo.shipped import TRAITS, vector_of

QUESTIONS = [
    "Which city is Peru's capital?",
    "How does a cow sound?",
    "What is hot's opposite?",
    "What colour is snow?",
]


@pytest.mark.parametrize("model", ["demo-qwen2", "demo-gpt-oss"])
def test_answers_when_a_pole_is_asked_for_then_lie_at_1_and_others_at_0_even_at_the_first_blocks(
    model: str, engine_of: Callable[[str], Engine]
) -> None:
    engine = engine_of(model)
    vector = vector_of(engine, "silly")
    prompts = [
        engine.render(messages(instruction, question))
        for instruction in (TRAITS["silly"].instructions[0].positive, None)
        for question in QUESTIONS
    ]
    asked = [Generation(prompt, Sampling(80, temperature=0.7, seed=n)) for n, prompt in enumerate(prompts)]
    answers = generate_all(engine, asked)
    rollouts = [Rollout(prompt, answer.token_ids) for prompt, answer in zip(prompts, answers, strict=True)]
    means = engine.capture(rollouts, ["response"])["response"].means
    for deepest in (0, 1, engine.info.n_layers - 1):
        watched = watch("silly", vector, "positive", deepest)
        assert watched is not None and watched.probe.block <= deepest
        found = means[:, watched.probe.block] @ watched.probe.direction - watched.probe.offset
        shown, unshown = np.split(found, 2)
        assert shown.mean() == pytest.approx(1, abs=0.3) and unshown.mean() == pytest.approx(0, abs=0.3)
        assert auroc(shown, unshown) >= 0.95

"""Given answers are as likely as the model, steered by each one's own plan, finds them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from proxy.engines.base import Generation, Plan, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.errors import PromptTooLong
from proxy.engines.transformers import scoring
from proxy.engines.transformers.engine import TransformersEngine
from tests.engines.conftest import LoadEngine, LoadPlain
from tests.engines.reference import steered_logits
from tests.engines.transformers.test_steering import PLANS, push


def rollouts(engine: TransformersEngine) -> list[Rollout]:
    """One for each plan, of many lengths; the last is longer than a forward takes."""
    sizes = [(1 + 5 * n, 3 * n) for n in range(len(PLANS) - 1)] + [(300, 400)]
    return [Rollout(engine.encode("p" * asked), engine.encode("answer " * said)[:said]) for asked, said in sizes]


def expected_logprobs(model: torch.nn.Module, rollout: Rollout, plan: Plan) -> np.ndarray:
    logits = steered_logits(model, rollout.prompt, rollout.response, plan)[:-1]  # type: ignore[arg-type]
    return logits.log_softmax(dim=-1).numpy()[range(len(rollout.response)), list(rollout.response)]


def test_scores_when_each_answer_has_its_own_plan_then_equal_a_plain_hook(
    any_family: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine, model = engine_of(any_family), plain(any_family)
    asked = rollouts(engine)
    told: list[int] = []
    found = engine.score(asked, PLANS, told.append)
    assert sum(told) == len(asked)
    for rollout, plan, scores in zip(asked, PLANS, found, strict=True):
        np.testing.assert_allclose(scores, expected_logprobs(model, rollout, plan), atol=2e-3)


def test_scores_when_logits_are_taken_in_pieces_then_are_the_same(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(qwen2)
    expected = engine.score(rollouts(engine))
    monkeypatch.setattr(scoring, "NUMBERS_AT_A_TIME", 1000)
    for scores, whole in zip(engine.score(rollouts(engine)), expected, strict=True):
        np.testing.assert_allclose(scores, whole, atol=1e-4)


def test_an_answer_when_it_was_steered_then_it_is_likelier_under_its_own_plan(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine, plan = engine_of(qwen2), Plan((push(2, "response", 4),))
    prompt = engine.encode("tell me")
    [answer] = generate_all(engine, [Generation(prompt, Sampling(20, temperature=0), plan)])
    rollout = Rollout(prompt, answer.token_ids)
    steered, unsteered = engine.score([rollout, rollout], [plan, Plan()])
    assert steered.sum() > unsteered.sum() + 1


def test_a_text_when_it_does_not_fit_then_the_model_says_so(qwen2: Path, engine_of: LoadEngine) -> None:
    with pytest.raises(PromptTooLong):
        engine_of(qwen2, context_length=40).score([Rollout([1] * 30, [1] * 11)])


def test_read_when_asked_for_blocks_then_equals_what_capture_and_score_find(
    any_family: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(any_family)
    asked = [*rollouts(engine), Rollout(engine.encode("nothing was said"))]
    told: list[int] = []
    found = engine.read(asked, [2, 0], told.append)
    assert sum(told) == len(asked)
    means = engine.capture(asked, ["response"])["response"].means[:, [2, 0]]
    np.testing.assert_allclose(found.means, means, atol=1e-3)
    for one, other in zip(found.logprobs, engine.score(asked), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)

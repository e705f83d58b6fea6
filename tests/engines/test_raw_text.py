"""A raw prompt, as /v1/completions takes it: its tokens, how likely each of them is, and an answer that goes on with
it."""

import queue
from collections.abc import Callable

import numpy as np
import pytest

from proxy.engines.base import Engine, Event, Finish, Generation, Plan, Rollout, Sampling
from tests.engines.test_constrained import engine_for  # noqa: F401  # a fixture
from tests.engines.test_logprobs import ROUNDING, tokens_of
from tests.engines.transformers.test_steering import PLANS

TYPED = "<|start|>user<|message|>Hé 🙂<|end|>"


def test_likelihoods_when_a_text_is_read_then_they_are_the_engine_s_own_scores_and_its_likeliest(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    everywhere = next(plan for plan in PLANS if {item.positions for item in plan.interventions} == {"all"})
    later = next(plan for plan in PLANS if {item.positions for item in plan.interventions} == {"response"})
    texts = [engine.encode("what comes next?"), engine.encode("ab"), engine.encode("another text"), [65]]
    plans = [Plan(), Plan(), everywhere, later]
    found = engine.likelihoods(texts, plans, 3)
    # What is added everywhere is added to a prompt too; what is added to an answer is not.
    expected = engine.score([Rollout(text[:1], text[1:]) for text in texts], [Plan(), Plan(), everywhere, Plan()])
    for likely, scores in zip(found, expected, strict=True):
        np.testing.assert_allclose([each.logprob for each in likely], scores, atol=ROUNDING)
    assert [len(likely) for likely in found] == [len(text) - 1 for text in texts]
    after = engine.next_token_logprobs([texts[0][:4]], list(range(258)))[0]
    top = found[0][3].top
    assert len(top) == 3 and [value for _, value in top] == sorted((value for _, value in top), reverse=True)
    np.testing.assert_allclose([value for _, value in top], sorted(after)[::-1][:3], atol=ROUNDING)


def test_likelihoods_when_a_token_is_the_likeliest_then_its_number_is_the_same_to_the_last_bit(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    prompt = engine.encode("greedy")
    greedy = Sampling(4, temperature=0, logit_bias={256: -100, 257: -100})
    answer = [token.id for token in tokens_of(engine, Generation(prompt, greedy, raw=True))[0]]
    likely = engine.likelihoods([[*prompt, *answer]], [Plan()], 3)[0][len(prompt) - 1 :]
    for token, each in zip(answer, likely, strict=True):
        assert (token, each.logprob) == next(entry for entry in each.top if entry[0] not in (256, 257))


def test_likelihoods_when_nobody_wants_them_any_more_then_the_model_is_free_at_once(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    assert engine.likelihoods([[1, 2, 3]], [Plan()], 0, lambda: True) == []


def test_raw_text_when_markers_are_typed_then_they_are_tokens_and_spell_themselves(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("gpt-oss")
    ids = engine.tokenize(TYPED)
    assert len(ids) < len(engine.encode(TYPED)) and engine.tokenize(TYPED) == ids
    spell, unmarked = engine.speller(marked=True), engine.speller()
    assert b"".join(map(spell, ids)).decode() == TYPED
    assert b"".join(map(unmarked, ids)).decode() == "userHé 🙂"


@pytest.mark.parametrize("family", ["gpt-oss", "qwen2"])
def test_answer_when_its_prompt_is_raw_then_all_of_it_is_content(
    family: str,
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for(family)
    prompt = engine.tokenize("<|start|>assistant<|channel|>analysis<|message|>Hm")
    asked = [Generation(prompt, Sampling(12, seed=seed, top_logprobs=0), raw=True) for seed in range(4)]
    tokens = [token for answer in tokens_of(engine, *asked) for token in answer]
    assert {token.channel for token in tokens} == {"content"}
    assert all(token.logprob is not None for token in tokens)


def test_answer_when_the_model_ends_then_its_end_token_is_told_with_its_log_probability(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    prompt = engine.encode("and so")
    heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
    asked = Sampling(4, top_logprobs=1, logit_bias={257: 100.0})
    engine.start(Generation(prompt, asked, raw=True), heard.put)
    event = heard.get(timeout=30)
    assert isinstance(event, Finish) and event.end is not None and event.end.id == 257
    [score] = engine.score([Rollout(prompt, [257])])[0]
    assert event.end.logprob == pytest.approx(score, abs=ROUNDING)

"""A plan limited to a channel steers that channel's tokens, and no others, in a running engine."""

from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Generation, Intervention, Plan, Positions, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.errors import Refusal
from tests.engines.conftest import LoadEngine
from tests.engines.tiny_models import byte_tokenizer

TOKENIZER = byte_tokenizer(harmony=True)
ASKED = "<|start|>user<|message|>hi<|end|><|start|>assistant"
THOUGHT = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"


def ids(text: str) -> list[int]:
    encoded: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return encoded


def push(positions: Positions) -> Intervention:
    return Intervention(
        1, positions, "add", vector=np.random.default_rng(3).normal(size=32, scale=2).astype(np.float32)
    )


FINAL = Plan((push("response"),), frozenset(("content",)))
ANALYSIS = Plan((push("response"),), frozenset(("reasoning",)))


def test_scores_when_limited_then_differ_only_from_the_channel_on(gpt_oss: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(gpt_oss)
    rollout = Rollout(ids(ASKED), ids(THOUGHT + "ja<|return|>"))
    before_final, before_analysis = len(ids(THOUGHT)), len(ids("<|channel|>analysis<|message|>"))
    plain, final, analysis = engine.score([rollout] * 3, [Plan(), FINAL, ANALYSIS])
    assert np.array_equal(final[:before_final], plain[:before_final])
    assert np.all(final[before_final:] != plain[before_final:])
    assert np.array_equal(analysis[:before_analysis], plain[:before_analysis])
    assert np.all(analysis[before_analysis:] != plain[before_analysis:])  # what comes later attends to what was steered


def test_answers_when_the_prompt_opens_the_channel_then_are_steered_as_ever_and_else_not_at_all(
    gpt_oss: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(gpt_oss)
    sampling = Sampling(12, temperature=0, logit_bias={TOKENIZER.get_vocab()["<|message|>"]: -1e4})
    opened, unopened = ids(ASKED + THOUGHT), ids(ASKED)
    limited, unlimited, plain, never, as_never = generate_all(
        engine,
        [
            Generation(opened, sampling, FINAL),
            Generation(opened, sampling, Plan(FINAL.interventions)),
            Generation(opened, sampling),
            Generation(unopened, sampling, FINAL),
            Generation(unopened, sampling),
        ],
    )
    assert limited == unlimited != plain
    assert never == as_never


def test_answers_when_the_channel_opens_while_others_run_then_are_steered_from_there(
    gpt_oss: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(gpt_oss)
    message, prompt = TOKENIZER.get_vocab()["<|message|>"], ids(ASKED + THOUGHT)[:-1]
    # The first token drawn is the one that opens the channel, and never drawn again.
    opening = Sampling(9, temperature=0, logit_bias={message: 100.0}, presence_penalty=200.0)
    alone = [generate_all(engine, [Generation(prompt, opening, plan)])[0] for plan in (FINAL, Plan())]
    together = generate_all(engine, [Generation(prompt, opening, plan) for plan in (FINAL, Plan(), FINAL)])
    assert alone[0].token_ids[0] == message and alone[0] != alone[1]
    assert together == [alone[0], alone[1], alone[0]]
    [scores] = engine.score([Rollout(prompt, alone[0].token_ids)], [FINAL])
    [unsteered] = engine.score([Rollout(prompt, alone[0].token_ids)])
    assert scores[0] == unsteered[0] and np.all(scores[1:] != unsteered[1:])


def test_an_answer_when_the_model_lacks_the_channel_then_the_request_is_invalid(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    with pytest.raises(Refusal, match="no such channel"):
        engine.start(Generation([1, 2], Sampling(1), ANALYSIS), lambda event: None)
    plans = (FINAL, Plan(FINAL.interventions))
    final, all_ = generate_all(engine, [Generation([1, 2], Sampling(5, temperature=0), plan) for plan in plans])
    assert final == all_

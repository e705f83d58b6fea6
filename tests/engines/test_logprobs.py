"""Log-probabilities of an answer's tokens are those the model itself gives them, whatever the draw was made of."""

import queue
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from proxy.engines.base import Engine, Event, Failure, Finish, Generation, Plan, Rollout, Sampling, Token
from proxy.engines.blocking import generate_all
from proxy.engines.llama_cpp import batch as llama_cpp_batch
from proxy.engines.logprobs import likelihood
from proxy.engines.transformers import batch as transformers_batch
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama
from tests.engines.test_constrained import HARMONY, ask, engine_for  # noqa: F401  # a fixture
from tests.engines.transformers.test_steering import PLANS

ROUNDING = 0.01  # llama.cpp reads given texts with keys and values in float16
ODD = {"temperature": 0.6, "top_k": 9, "repetition_penalty": 1.2, "frequency_penalty": 0.5, "logit_bias": {40: 5.0}}


def tokens_of(engine: Engine, *generations: Generation) -> list[list[Token]]:
    """Those of answers that are made together."""
    heard: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in generations]
    for generation, listener in zip(generations, heard, strict=True):
        engine.start(generation, listener.put)
    found: list[list[Token]] = []
    for listener in heard:
        found.append([])
        while not isinstance(event := listener.get(timeout=30), Finish):
            assert not isinstance(event, Failure), event.error
            found[-1].append(event)
    return found


@pytest.mark.parametrize("family", ["qwen2", "gpt-oss"])
def test_logprobs_when_summed_up_then_are_the_score_of_the_answer(
    family: str,
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for(family)
    plans = [Plan(), *(plan for plan in PLANS if plan.interventions)][:4]
    generations = [
        replace(ask(engine, f"question {n}", Sampling(15, seed=n, top_logprobs=3, **ODD)), plan=plan)  # type: ignore[arg-type]
        for n, plan in enumerate(plans)
    ]
    answers = tokens_of(engine, *generations)
    rollouts = [Rollout(g.prompt, [t.id for t in tokens]) for g, tokens in zip(generations, answers, strict=True)]
    for tokens, scores in zip(answers, engine.score(rollouts, plans), strict=True):
        content = [
            (token.logprob, score) for token, score in zip(tokens, scores, strict=True) if token.logprob is not None
        ]
        assert len(content) == len(tokens) or family == "gpt-oss"  # in which random weights may close the message
        mine, theirs = np.array(content).T
        np.testing.assert_allclose(mine, theirs, atol=ROUNDING)
        assert mine.sum() < -1


def test_likeliest_tokens_when_asked_for_then_are_the_model_s_without_special_ones(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    asked = ask(engine, "which?", Sampling(8, temperature=0, top_logprobs=20, logit_bias={256: -100, 257: -100}))
    prompt = list(asked.prompt)
    for token in tokens_of(engine, asked)[0]:
        ids = list(range(258))
        all_ = engine.next_token_logprobs([prompt], ids)[0]
        top, values = zip(*token.top, strict=True)
        np.testing.assert_allclose(values, all_[list(top)], atol=ROUNDING)
        others = [id_ for id_ in ids if id_ not in (*top, 256, 257)]
        assert values == tuple(sorted(values, reverse=True)) and values[-1] > all_[others].max() - ROUNDING
        assert len(top) == 20 and token.top[0] == (token.id, token.logprob)
        prompt.append(token.id)


def test_logprobs_when_only_some_ask_then_only_those_have_them_and_every_answer_is_the_same(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    silent = ask(engine, "one", Sampling(10, seed=1))
    asking = replace(silent, sampling=replace(silent.sampling, top_logprobs=0))
    first, second = tokens_of(engine, silent, asking)
    assert (
        [token.id for token in first] == [token.id for token in second] == generate_all(engine, [silent])[0].token_ids
    )
    assert all(token.logprob is None and token.top == () for token in first)
    assert all(token.logprob is not None and token.top == () for token in second)


def test_likeliest_tokens_when_special_ones_are_likelier_then_only_the_others_are_told() -> None:
    logits = np.array([5, 1, 3, 2], np.float32)
    expected = torch.from_numpy(logits).log_softmax(-1).tolist()
    found = likelihood(logits, 1, 2, frozenset({0, 9}))
    assert found.logprob == pytest.approx(expected[1])
    assert [id_ for id_, _ in found.top] == [2, 3]
    assert [logprob for _, logprob in found.top] == pytest.approx(expected[2:])
    assert len(likelihood(logits, 1, 9).top) == 4 and likelihood(logits, 1, 0).top == ()


def test_logprobs_when_nobody_asks_then_none_are_made(
    engine_for: Callable[[str], Engine],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = engine_for("qwen2")
    for batch in (transformers_batch, llama_cpp_batch):
        monkeypatch.setattr(batch, "likelihood", None)
    assert tokens_of(engine, ask(engine, "one", Sampling(4, seed=1, logit_bias={256: -100, 257: -100})))[0]


def test_likeliest_tokens_when_a_schema_is_followed_then_are_still_the_model_s_own(
    engine_for: Callable[[str], Engine],  # noqa: F811
) -> None:
    engine = engine_for("qwen2")
    kept = ask(engine, "?", Sampling(50, seed=1, top_logprobs=2, json_schema='{"const": "yes"}'))
    tokens = tokens_of(engine, kept)[0]
    scores = engine.score([Rollout(kept.prompt, [token.id for token in tokens])])[0]
    np.testing.assert_allclose(np.array([token.logprob for token in tokens], np.float32), scores, atol=ROUNDING)
    assert any(token.logprob < token.top[1][1] for token in tokens)  # type: ignore[operator]


def test_markers_and_reasoning_when_logprobs_are_asked_for_then_have_none(llama_of: LoadLlama) -> None:
    engine = llama_of("gpt-oss")
    markers = {id_ for name, id_ in HARMONY.get_vocab().items() if name.startswith("<|")}
    asked = Sampling(60, temperature=2.0, top_logprobs=5, logit_bias={id_: 3.0 for id_ in markers})
    prompt = engine.render([{"role": "user", "content": "?"}])
    tokens = [t for n in range(6) for t in tokens_of(engine, Generation(prompt, replace(asked, seed=n)))[0]]
    assert markers & {token.id for token in tokens}
    told = [token for token in tokens if token.logprob is not None]
    assert not markers & {id_ for token in told for id_ in (token.id, *(top for top, _ in token.top))}
    assert all(token.channel == "content" for token in told)


def test_a_recorded_step_when_logprobs_are_asked_for_then_they_are_of_that_step(
    qwen2: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.engines.transformers.test_graphs import engine_that_records

    buffer: list[torch.Tensor] = []

    def record(step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def replay() -> torch.Tensor:
            """As a graph does it: always into the same memory."""
            logits = step()
            if not buffer or buffer[0].shape != logits.shape:
                buffer[:] = [torch.empty_like(logits)]
            return buffer[0].copy_(logits)

        return replay

    plain, recording = engine_of(qwen2), engine_that_records(qwen2, record, monkeypatch)
    schema = '{"type": "array", "items": {"enum": [true, false, "x"]}, "maxItems": 3}'
    rules = [
        Sampling(60, seed=1, top_logprobs=2, json_schema=schema),
        Sampling(40, seed=2, top_logprobs=1, top_k=5),
        Sampling(40, seed=3, temperature=0),
    ]
    generations = [ask(plain, "?", rule) for rule in rules]
    for mine, theirs in zip(tokens_of(recording, *generations), tokens_of(plain, *generations), strict=True):
        assert [token.id for token in mine] == [token.id for token in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    recording.close()

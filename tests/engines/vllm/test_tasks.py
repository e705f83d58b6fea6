"""What an engine does besides answering, and answers that are kept to rules: as the engine on transformers does it."""

import json
from collections.abc import Iterator

import pytest

from proxy.engines.base import Engine, Generation, Plan, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.transformers.engine import load
from proxy.settings import ModelSettings
from tests.engines.vllm.conftest import FAMILIES, LoadVllm, folder
from tests.engines.vllm.test_steering import WORDS, ask, plans, push, rendered

pytestmark = pytest.mark.timeout(600)
SCHEMA = json.dumps({"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"]})


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, vllm_of: LoadVllm) -> Iterator[tuple[Engine, Engine]]:
    """One model on transformers, and on vLLM."""
    vllm = vllm_of(request.param)
    engine = load(ModelSettings("tiny", str(folder(request.param))), 16)
    yield engine, vllm
    engine.close()


def rollouts(engine: Engine) -> list[Rollout]:
    said = engine.encode(" The mill stands by the river, and nobody lives there any more.")
    return [Rollout(rendered(engine, text * (1 + 9 * at)), said[: 4 + at]) for at, text in enumerate(WORDS)]


def test_residuals_when_texts_are_captured_then_they_are_those_of_transformers(both: tuple[Engine, Engine]) -> None:
    theirs, ours = both
    texts = [*rollouts(ours), Rollout(rendered(ours, "No answer."))]
    seen: list[int] = []
    expected = theirs.capture(texts, ["last_prompt", "response"])
    found = ours.capture(texts, ["last_prompt", "response"], seen.append)
    assert sum(seen) == len(texts)
    for span in ("last_prompt", "response"):
        assert found[span].means == pytest.approx(expected[span].means, abs=2e-3)
        assert found[span].norms == pytest.approx(expected[span].norms, rel=1e-3)
    for mine, their in zip(
        ours.capture_tokens(texts[:4], "response", [2, 0]),
        theirs.capture_tokens(texts[:4], "response", [2, 0]),
        strict=True,
    ):
        assert mine == pytest.approx(their, abs=2e-3)


def test_likelihoods_when_texts_are_scored_then_they_are_those_of_transformers(both: tuple[Engine, Engine]) -> None:
    theirs, ours = both
    texts, steering = rollouts(ours), plans(ours)[1:5]
    for mine, their in zip(ours.score(texts, steering), theirs.score(texts, steering), strict=True):
        assert mine == pytest.approx(their, abs=2e-3)
    read, expected = ours.read(texts, [1, 3]), theirs.read(texts, [1, 3])
    assert read.means == pytest.approx(expected.means, abs=2e-3)
    for mine, their in zip(read.logprobs, expected.logprobs, strict=True):
        assert mine == pytest.approx(their, abs=2e-3)
    raw = [[*text.prompt, *text.response] for text in texts]
    for found, wanted in zip(ours.likelihoods(raw, steering, 2), theirs.likelihoods(raw, steering, 2), strict=True):
        assert [it.logprob for it in found] == pytest.approx([it.logprob for it in wanted], abs=2e-3)
        assert [len(it.top) for it in found] == [2] * len(wanted)
    ids = ours.encode("yes no maybe")
    prompts = [text.prompt for text in texts]
    assert ours.next_token_logprobs(prompts, ids) == pytest.approx(theirs.next_token_logprobs(prompts, ids), abs=2e-3)


def test_an_answer_when_it_has_a_schema_then_it_follows_it_whoever_is_beside_it(both: tuple[Engine, Engine]) -> None:
    _, ours = both
    asked = [
        Generation(rendered(ours, text), Sampling(120, temperature=1, seed=at, json_schema=schema), plan)
        for at, (text, plan, schema) in enumerate(zip(WORDS, plans(ours), (SCHEMA, None, SCHEMA, None), strict=False))
    ]
    answers = generate_all(ours, asked)
    for generation, answer in zip(asked, answers, strict=True):
        if generation.sampling.json_schema is not None and answer.finish_reason == "stop":
            assert json.loads(answer.text)["n"] in (7, 8)
    again = generate_all(ours, asked[1:2])
    assert again[0].token_ids == generate_all(ours, asked[1:2])[0].token_ids


def test_an_answer_when_one_channel_is_steered_then_the_other_is_left_alone(vllm_of: LoadVllm) -> None:
    ours = vllm_of("gpt-oss")
    theirs = load(ModelSettings("tiny", str(folder("gpt-oss"))), 16)
    try:
        item = push(ours, 2, "response", 5)
        for channel in ("reasoning", "content"):
            plan = Plan((item,), frozenset((channel,)))
            asked = [Generation(rendered(ours, text), Sampling(60, temperature=0), plan) for text in WORDS]
            expected = generate_all(theirs, asked)
            found = ask(ours, asked)
            assert [told.ids for told in found] == [answer.token_ids for answer in expected]
    finally:
        theirs.close()


def test_seeds_when_they_are_the_same_then_so_are_the_answers(vllm_of: LoadVllm) -> None:
    engine = vllm_of("qwen2")
    asked = [Generation(rendered(engine, WORDS[0]), Sampling(20, temperature=1.5, seed=seed)) for seed in (1, 2, 3, 4)]
    answers = [ask(engine, [generation])[0].ids for generation in (*asked, *asked)]
    assert answers[:4] == answers[4:]
    assert len({tuple(ids) for ids in answers}) > 1

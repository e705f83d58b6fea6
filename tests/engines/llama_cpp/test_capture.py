"""Residuals and log-probabilities read from a GGUF model are those of the same weights in transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from proxy.engines.base import Generation, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.errors import PromptTooLong
from tests.engines.conftest import LoadPlain
from tests.engines.llama_cpp.models import FAMILIES, LoadLlama, full_precision
from tests.engines.transformers.test_capture import hooked
from tests.engines.transformers.test_scoring import expected_logprobs
from tests.engines.transformers.test_steering import PLANS
from vector_store import SPANS, Span

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp import reading


@pytest.mark.parametrize("family", FAMILIES)
def test_capture_when_rollouts_differ_in_length_then_equals_a_plain_hook(
    family: str, llama_of: LoadLlama, plain: LoadPlain, models_folder: Path
) -> None:
    engine, model = llama_of(family), plain(models_folder / family)
    rollouts = [Rollout(engine.encode("p" * n), engine.encode("answer"[: n % 7])) for n in (3, 40, 1, 14, 25)]
    rollouts.append(Rollout(engine.encode("beginning"), engine.encode("on and on " * 60)))  # more than a step takes
    told: list[int] = []
    with full_precision():
        stats = engine.capture(rollouts, SPANS, told.append)
    assert sum(told) == len(rollouts) and not rollouts[3].response
    for index, rollout in enumerate(rollouts):
        residuals = hooked(model, [*rollout.prompt, *rollout.response])
        begin = len(rollout.prompt)
        pieces: dict[Span, np.ndarray] = {
            "last_prompt": residuals[:, begin - 1 : begin],
            "response": residuals[:, begin:],
        }
        for span, piece in pieces.items():
            if not piece.shape[1]:
                assert not stats[span].means[index].any() and not stats[span].norms[index].any()
                continue
            np.testing.assert_allclose(stats[span].means[index], piece.mean(axis=1), atol=1e-3)
            norms = np.median(np.linalg.norm(piece, axis=-1), axis=-1)
            np.testing.assert_allclose(stats[span].norms[index], norms, rtol=1e-4)


def test_a_span_when_it_is_empty_everywhere_then_everything_is_zero(llama_of: LoadLlama) -> None:
    told: list[int] = []
    stats = llama_of("qwen2").capture([Rollout([1, 2]), Rollout([3])], ["response"], told.append)["response"]
    assert stats.means.shape == (2, 4, 32) and not stats.means.any() and sum(told) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_when_captured_then_are_those_of_the_span_at_the_blocks_asked_for(
    family: str, llama_of: LoadLlama, plain: LoadPlain, models_folder: Path
) -> None:
    engine, model = llama_of(family), plain(models_folder / family)
    texts = [("a prompt", "an answer"), ("p", ""), ("longer " * 40, "on and on " * 30)]
    rollouts = [Rollout(engine.encode(prompt), engine.encode(response)) for prompt, response in texts]
    residuals = [hooked(model, [*rollout.prompt, *rollout.response]) for rollout in rollouts]
    spans: list[tuple[Span, int, int | None]] = [("response", 0, None), ("last_prompt", -1, 0)]
    for span, begin, end in spans:
        with full_precision():
            captured = engine.capture_tokens(rollouts, span, [3, 1])
        for rollout, found, whole in zip(rollouts, captured, residuals, strict=True):
            first = len(rollout.prompt) + begin
            last = None if end is None else len(rollout.prompt) + end
            expected = whole[[3, 1], first:last]
            assert found.shape == (expected.shape[1], 2, expected.shape[2])
            np.testing.assert_allclose(found, expected.swapaxes(0, 1), atol=1e-3)
    with pytest.raises(ValueError):
        engine.capture_tokens(rollouts, "response", [4])


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_when_each_answer_has_its_own_plan_then_equal_a_plain_hook(
    family: str, llama_of: LoadLlama, plain: LoadPlain, models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, model = llama_of(family), plain(models_folder / family)
    told: list[int] = []
    sizes = [(1 + 5 * n, 3 * n) for n in range(len(PLANS) - 1)] + [(300, 400)]
    rollouts = [Rollout(engine.encode("p" * asked), engine.encode("answer " * said)[:said]) for asked, said in sizes]
    with full_precision():
        found = engine.score(rollouts, PLANS, told.append)
        monkeypatch.setattr(reading, "LOGITS_A_STEP", 7000)  # 27 tokens of the vocabulary's size
        in_pieces = engine.score(rollouts, PLANS)
    assert sum(told) == len(rollouts)
    for rollout, plan, scores, same in zip(rollouts, PLANS, found, in_pieces, strict=True):
        np.testing.assert_allclose(scores, expected_logprobs(model, rollout, plan), atol=2e-3)
        np.testing.assert_allclose(same, scores, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_when_asked_of_several_prompts_then_equal_the_model_s(
    family: str, llama_of: LoadLlama, plain: LoadPlain, models_folder: Path
) -> None:
    engine, model = llama_of(family), plain(models_folder / family)
    prompts = [engine.encode(text) for text in ("one", "a longer one", "z" * 30, "y" * 600)]
    with full_precision():
        found = engine.next_token_logprobs(prompts, [3, 70])
    for prompt, row in zip(prompts, found, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[[3, 70]]
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_when_prompts_are_shared_then_each_is_as_if_alone(family: str, llama_of: LoadLlama) -> None:
    engine = llama_of(family)
    prompts = [engine.encode(text) for text in ("the first question of two", "another one, which is longer", "short")]
    rollouts = [Rollout(prompts[n % 3], engine.encode("an answer" * (1 + n % 4))) for n in range(12)]
    plans = [PLANS[n % len(PLANS)] for n in range(12)]
    with full_precision():
        together = engine.score(rollouts, plans)
        alone = [engine.score([rollout], [plan])[0] for rollout, plan in zip(rollouts, plans, strict=True)]
        stats = engine.capture(rollouts, SPANS)
        of_one = [engine.capture([rollout], SPANS) for rollout in rollouts]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    for span in SPANS:
        expected = np.concatenate([found[span].means for found in of_one])
        np.testing.assert_allclose(stats[span].means, expected, atol=1e-3)


def test_steps_when_texts_begin_alike_then_the_beginning_is_read_once() -> None:
    texts = [reading.Text(n, [*range(20), n, n], 19) for n in range(5)] + [reading.Text(5, list(range(3)), 2)]
    n_read = sum(piece.end - piece.start for step in reading._steps(texts, 512) for piece in step)
    assert n_read == 19 + 5 * 3 + 3


def test_steps_when_prompts_differ_behind_one_beginning_then_that_is_read_once_and_so_is_each_shared_prompt() -> None:
    prompts = [[*range(12), *[100 + n // 3] * 17] for n in range(9)]  # three questions, each answered three times
    texts = [reading.Text(n, [*prompt, n, n], 28) for n, prompt in enumerate(prompts)]
    n_read = sum(piece.end - piece.start for step in reading._steps(texts, 512) for piece in step)
    assert n_read == 3 * 28 + 9 * 3  # each question's prompt once: more than their beginning alone would save
    lone = [reading.Text(n, [*range(20), *[100 + n] * 9, n], 28) for n in range(9)]
    n_read = sum(piece.end - piece.start for step in reading._steps(lone, 512) for piece in step)
    assert n_read == 20 + 9 * 10


@pytest.mark.parametrize("family", FAMILIES)
def test_read_when_asked_for_blocks_then_equals_what_capture_and_score_find(family: str, llama_of: LoadLlama) -> None:
    engine = llama_of(family)
    rollouts = [Rollout(engine.encode("a question" * n), engine.encode("answer"[: 2 * n])) for n in (1, 2, 0, 3)]
    rollouts[2] = Rollout(engine.encode("nothing was said"))
    rollouts.append(Rollout(engine.encode("long"), engine.encode("on and on " * 60)))
    told: list[int] = []
    with full_precision():
        found = engine.read(rollouts, [2, 0], told.append)
        means = engine.capture(rollouts, ["response"])["response"].means[:, [2, 0]]
        logprobs = engine.score(rollouts)
    assert sum(told) == len(rollouts)
    np.testing.assert_allclose(found.means, means, atol=1e-3)
    for one, other in zip(found.logprobs, logprobs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_capture_when_a_steered_answer_is_running_then_both_are_as_if_alone(llama_of: LoadLlama) -> None:
    engine = llama_of("qwen2", exact=True)
    rollouts = [Rollout(engine.encode(f"{n}" + "x" * 400), engine.encode("yes")) for n in range(10)]
    generation = Generation(engine.encode("hello"), Sampling(900, temperature=0, logit_bias={257: -1e4}), PLANS[2])
    alone = engine.capture(rollouts, SPANS)
    [answer] = generate_all(engine, [generation])
    tokens: list[int] = []
    run = engine.start(generation, lambda event: tokens.append(getattr(event, "id", -1)))
    together = engine.capture(rollouts, SPANS, lambda done: tokens.append(-2))
    run.cancel()
    for span in SPANS:
        np.testing.assert_array_equal(together[span].means, alone[span].means)
    steps = [index for index, token in enumerate(tokens) if token == -2]
    assert len(steps) >= 4 and any(token >= 0 for token in tokens[steps[0] : steps[-1]])
    generated = [token for token in tokens if token >= 0]
    assert generated == answer.token_ids[: len(generated)]


def test_a_text_when_it_does_not_fit_then_the_model_says_so(llama_of: LoadLlama) -> None:
    with pytest.raises(PromptTooLong):
        llama_of("qwen2", context_length=40).score([Rollout([1] * 30, [1] * 11)])

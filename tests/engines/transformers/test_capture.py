"""Captured residuals are those a plain hook sees, whatever else is in the batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from proxy.engines.base import Generation, Rollout, Sampling
from proxy.engines.blocking import generate_all
from tests.engines.conftest import LoadEngine, LoadPlain
from tests.engines.transformers.test_steering import PLANS
from vector_store import SPANS, Span


def hooked(model: torch.nn.Module, tokens: list[int]) -> np.ndarray:
    """float32[n_layers, n_tokens, hidden]"""
    seen: list[np.ndarray] = []
    blocks = model.get_decoder().layers  # type: ignore[operator]
    handles = [block.register_forward_hook(lambda m, a, out: seen.append(out[0].numpy().copy())) for block in blocks]
    with torch.no_grad():
        model(torch.tensor([tokens]), use_cache=False)
    for handle in handles:
        handle.remove()
    return np.stack(seen)


def test_capture_when_rollouts_differ_in_length_then_equals_a_plain_hook(
    any_family: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine, model = engine_of(any_family), plain(any_family)
    rollouts = [Rollout(engine.encode("p" * n), engine.encode("answer"[: n % 7])) for n in (3, 40, 1, 12, 25)]
    told: list[int] = []
    stats = engine.capture(rollouts, SPANS, told.append)
    assert sum(told) == len(rollouts)
    for index, rollout in enumerate(rollouts):
        residuals = hooked(model, [*rollout.prompt, *rollout.response])
        begin = len(rollout.prompt)
        pieces: dict[Span, np.ndarray] = {
            "last_prompt": residuals[:, begin - 1 : begin],
            "response": residuals[:, begin:],
        }
        for span, piece in pieces.items():
            np.testing.assert_allclose(stats[span].means[index], piece.mean(axis=1), atol=1e-3)
            norms = np.median(np.linalg.norm(piece, axis=-1), axis=-1)
            np.testing.assert_allclose(stats[span].norms[index], norms, rtol=1e-4)


def test_a_rollout_without_a_response_when_captured_then_its_response_is_zero(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    stats = engine_of(qwen2).capture([Rollout([1, 2]), Rollout([3], [4, 5])], SPANS)
    assert not stats["response"].means[0].any() and not stats["response"].norms[0].any()
    assert stats["response"].means[1].any() and stats["last_prompt"].means[0].any()
    assert stats["response"].means.dtype == stats["response"].norms.dtype == np.float32


def test_capture_when_a_steered_answer_is_running_then_both_are_as_if_alone(qwen2: Path, engine_of: LoadEngine) -> None:
    engine = engine_of(qwen2)
    rollouts = [Rollout(engine.encode("x" * 400), engine.encode("yes")) for _ in range(20)]
    generation = Generation(engine.encode("hello"), Sampling(60, temperature=0), PLANS[2])
    alone = engine.capture(rollouts, SPANS)
    [answer] = generate_all(engine, [generation])
    tokens: list[int] = []
    run = engine.start(generation, lambda event: tokens.append(getattr(event, "id", -1)))
    together = engine.capture(rollouts, SPANS, lambda done: tokens.append(-2))
    run.cancel()
    for span in SPANS:
        np.testing.assert_allclose(together[span].means, alone[span].means, atol=1e-4)
    steps = [index for index, token in enumerate(tokens) if token == -2]
    assert len(steps) >= 4 and any(token >= 0 for token in tokens[steps[0] : steps[-1]])
    generated = [token for token in tokens if token >= 0]
    assert generated == answer.token_ids[: len(generated)]


def test_capture_when_a_steered_answer_came_before_then_it_left_nothing_behind(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    rollout = Rollout(engine.encode("hello"))
    before = engine.capture([rollout], ["last_prompt"])["last_prompt"].means
    generate_all(engine, [Generation(rollout.prompt, Sampling(1), PLANS[3])])
    assert np.array_equal(engine.capture([rollout], ["last_prompt"])["last_prompt"].means, before)


def test_capture_when_a_text_is_longer_than_a_chunk_then_equals_a_plain_hook(
    qwen2: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine = engine_of(qwen2)
    rollouts = [Rollout(engine.encode("beginning"), engine.encode("on and on " * n)) for n in (120, 2)]
    stats = engine.capture(rollouts, SPANS)
    for index, rollout in enumerate(rollouts):
        residuals = hooked(plain(qwen2), [*rollout.prompt, *rollout.response])[:, len(rollout.prompt) :]
        np.testing.assert_allclose(stats["response"].means[index], residuals.mean(axis=1), atol=1e-3)
        norms = np.median(np.linalg.norm(residuals, axis=-1), axis=-1)
        np.testing.assert_allclose(stats["response"].norms[index], norms, rtol=1e-4)


def test_tokens_when_captured_then_are_those_of_the_span_at_the_blocks_asked_for(
    any_family: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine, model = engine_of(any_family), plain(any_family)
    texts = [("a prompt", "an answer"), ("p", ""), ("longer " * 70, "on and on " * 60)]
    rollouts = [Rollout(engine.encode(prompt), engine.encode(response)) for prompt, response in texts]
    spans: list[tuple[Span, int, int | None]] = [("response", 0, None), ("last_prompt", -1, 0)]
    for span, begin, end in spans:
        captured = engine.capture_tokens(rollouts, span, [3, 1])
        for rollout, found in zip(rollouts, captured, strict=True):
            first = len(rollout.prompt) + begin
            last = None if end is None else len(rollout.prompt) + end
            expected = hooked(model, [*rollout.prompt, *rollout.response])[[3, 1], first:last]
            assert found.shape == (expected.shape[1], 2, expected.shape[2])
            np.testing.assert_allclose(found, expected.swapaxes(0, 1), atol=1e-3)
    with pytest.raises(ValueError):
        engine.capture_tokens(rollouts, "response", [4])

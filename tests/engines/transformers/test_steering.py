"""Every request is steered by its own plan, whoever shares the batch, in every family of models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.base import FloatArray, Generation, Intervention, Mode, Plan, Positions, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.transformers import batch as decoding
from proxy.engines.transformers import loading
from proxy.engines.transformers.engine import TransformersEngine
from proxy.engines.transformers.hooks import Site, SteeringTable, layout_of
from proxy.engines.transformers.runner import ModelRunner
from proxy.engines.transformers.sampler import Draw, Sampler
from tests.engines.conftest import LoadEngine, LoadPlain
from tests.engines.reference import apply, is_greedy, steered_logits

HIDDEN, N_LAYERS = 32, 4


def unit_rows(rng: np.random.Generator, n_rows: int) -> FloatArray:
    rows = rng.normal(size=(n_rows, HIDDEN))
    unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def push(block: int, positions: Positions, seed: int, norm: float = 6.0) -> Intervention:
    vector = norm * unit_rows(np.random.default_rng(seed), 1)[0]
    return Intervention(block, positions, "add", vector=vector)


def hold(block: int, positions: Positions, mode: Mode, seed: int, size: int = 1) -> Intervention:
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=size, scale=4).astype(np.float32)
    return Intervention(block, positions, mode, basis=unit_rows(rng, size), levels=levels)


PLANS = [
    Plan(),
    Plan((push(0, "last_prompt", 1),)),
    Plan((push(3, "response", 2),)),
    Plan((push(1, "all", 3), push(2, "response", 4))),
    Plan((hold(0, "response", "target", 5),)),
    Plan((hold(2, "all", "cap", 6, size=3),)),
    Plan((hold(3, "last_prompt", "target", 7, size=2), push(3, "response", 8))),
    Plan((push(1, "response", 9), push(1, "last_prompt", 10), hold(1, "response", "cap", 11))),
    Plan((push(1, "response", 9), push(1, "response", 12))),
    Plan((push(1, "response", 13), push(1, "all", 14))),
]


def prompts(engine: TransformersEngine) -> list[list[int]]:
    return [engine.render([{"role": "user", "content": "ab" * (1 + 3 * i) + chr(97 + i)}]) for i in range(len(PLANS))]


def test_a_mixed_batch_when_every_request_has_another_plan_then_each_answers_as_if_alone(
    any_family: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine = engine_of(any_family)
    model: Any = plain(any_family)  # Any: its class has no `generate`; that of the loaded model has
    asked = prompts(engine)
    answers = generate_all(
        engine, [Generation(p, Sampling(8, temperature=0), plan) for p, plan in zip(asked, PLANS, strict=True)]
    )
    for prompt, plan, answer in zip(asked, PLANS, answers, strict=True):
        assert is_greedy(model, prompt, answer.token_ids, plan, answer.finish_reason == "stop")
    stop = model.generation_config.eos_token_id
    unsteered = model.generate(
        torch.tensor([asked[0]]), max_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=stop
    )
    assert [t for t in unsteered[0, len(asked[0]) :].tolist() if t != stop] == answers[0].token_ids


@pytest.mark.parametrize("plan", PLANS)
def test_logits_when_steered_then_equal_a_plain_hook(
    plan: Plan, qwen2: Path, engine_of: LoadEngine, plain: LoadPlain, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, mine = engine_of(qwen2), Sampling(6, temperature=0)
    seen: list[torch.Tensor] = []

    class Watched(Draw):
        def __init__(self, samplers: Sequence[Sampler], device: torch.device) -> None:
            super().__init__(samplers, device)
            self.rows = [row for row, sampler in enumerate(samplers) if sampler.sampling is mine]

        def __call__(self, logits: torch.Tensor) -> list[int]:
            seen.extend(logits[row].clone() for row in self.rows)
            return super().__call__(logits)

    monkeypatch.setattr(decoding, "Draw", Watched)
    prompt = prompts(engine)[3]
    others = [Generation(p, Sampling(9, temperature=0), other) for p, other in zip(prompts(engine), PLANS, strict=True)]
    answers = generate_all(engine, [*others[:5], Generation(prompt, mine, plan), *others[5:]])
    expected = steered_logits(plain(qwen2), prompt, answers[5].token_ids[:5], plan)
    torch.testing.assert_close(torch.stack(seen), expected, atol=1e-4, rtol=1e-4)


def test_unsteered_rows_when_their_neighbours_are_steered_then_keep_every_bit() -> None:
    hidden = torch.randn(4, 3, HIDDEN)
    hidden[0, 0, 0] = -0.0
    before = hidden.clone()
    sites = [Site(1, 2, PLANS[7].interventions), Site(3, 0, PLANS[4].interventions)]
    table = SteeringTable.of_sites(sites, HIDDEN, hidden.device)
    for actions in table.actions.values():
        for action in actions:
            action(hidden)
    changed = {(1, 2), (3, 0)}
    for row in range(4):
        for column in range(3):
            same = torch.equal(hidden[row, column].view(torch.int32), before[row, column].view(torch.int32))
            assert same == ((row, column) not in changed)


def test_unsteered_rows_of_a_mixed_step_when_compared_with_the_unhooked_model_then_keep_every_bit(
    any_family: Path, plain: LoadPlain
) -> None:
    config = loading.load_config(any_family)
    runner = ModelRunner(loading.load_network(any_family, config, torch.device("cpu"), torch.float32))
    unhooked = plain(any_family)
    rows = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    steering = [(), PLANS[9].interventions, (), PLANS[4].interventions]
    mine, theirs = runner.new_cache(), runner.new_cache()
    table = SteeringTable.of_rows(steering, layout_of(steering), HIDDEN, torch.device("cpu"))
    sites = [Site(row, 2, interventions) for row, interventions in enumerate(steering)]
    with torch.inference_mode():
        prompts = SteeringTable.of_sites(sites, HIDDEN, torch.device("cpu"))
        runner.read_chunk(rows, [0] * 4, mine, wanted=[(row, 2) for row in range(4)], table=prompts)
        positions = torch.arange(3).expand(4, 3)
        theirs.seat(positions, 3, 0)
        unhooked(**(runner._inputs(torch.tensor(rows), positions, theirs)))
        tokens, positions = torch.full((4, 1), 13), torch.full((4, 1), 3)
        steered = runner.decode(tokens, positions, mine, 4, table)
        theirs.seat(positions, 4)
        expected = unhooked(**(runner._inputs(tokens, positions, theirs))).logits[:, 0]
    for row in (0, 2):
        if any_family.name == "gpt-oss":  # who shares an expert with whom shifts last bits
            torch.testing.assert_close(steered[row], expected[row], atol=1e-5, rtol=1e-5)
        else:
            assert torch.equal(steered[row], expected[row])
    for row in (1, 3):
        assert not torch.allclose(steered[row], expected[row], atol=0.01)


@given(seed=st.integers(0, 2**32), size=st.integers(1, 5), mode=st.sampled_from(["target", "cap"]))
@settings(max_examples=40)
def test_a_hold_when_applied_then_its_projections_are_at_or_below_their_levels_and_nothing_else_moves(
    seed: int, size: int, mode: Mode
) -> None:
    item = hold(0, "all", mode, seed, size)
    assert item.basis is not None and item.levels is not None
    hidden = np.random.default_rng(seed + 1).normal(size=(3, HIDDEN), scale=5).astype(np.float32)
    steered = torch.from_numpy(hidden.copy())[None]
    sites = [Site(0, column, [item]) for column in range(3)]
    for action in SteeringTable.of_sites(sites, HIDDEN, steered.device).actions[0]:
        action(steered)
    result = steered[0].numpy()
    np.testing.assert_allclose(result, apply(item, hidden), atol=1e-3)
    before, after = hidden @ item.basis.T, result @ item.basis.T
    wanted = np.minimum(before, item.levels) if mode == "cap" else np.broadcast_to(item.levels, before.shape)
    np.testing.assert_allclose(after, wanted, atol=1e-3)
    outside = np.eye(HIDDEN) - np.linalg.pinv(item.basis) @ item.basis
    np.testing.assert_allclose(result @ outside, hidden @ outside, atol=1e-3)


def test_a_prompt_of_many_chunks_when_steered_then_only_its_plan_s_positions_are(
    qwen2: Path, engine_of: LoadEngine, plain: LoadPlain
) -> None:
    engine, model = engine_of(qwen2), plain(qwen2)
    long = engine.render([{"role": "user", "content": "never the same " * 80}])
    assert len(long) > 1024
    for plan in (PLANS[1], PLANS[3], PLANS[5]):
        [answer] = generate_all(engine, [Generation(long, Sampling(3, temperature=0), plan)])
        assert is_greedy(model, long, answer.token_ids, plan, answer.finish_reason == "stop")


def test_a_plan_of_another_model_when_started_then_it_is_refused_and_the_batch_goes_on(
    qwen2: Path, engine_of: LoadEngine
) -> None:
    engine = engine_of(qwen2)
    for item in (
        push(N_LAYERS, "all", 1),
        Intervention(0, "all", "add", vector=np.zeros(7, np.float32)),
        Intervention(0, "all", "cap"),
    ):
        with pytest.raises(ValueError):
            engine.start(Generation([1], Sampling(1), Plan((item,))), lambda event: None)
    assert generate_all(engine, [Generation([1], Sampling(2))])

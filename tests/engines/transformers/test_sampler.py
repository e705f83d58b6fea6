"""Each row is drawn by its own rules, and the rules are those of their definitions."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.base import Sampling
from proxy.engines.transformers import sampler
from proxy.engines.transformers.sampler import Draw, Sampler

CPU = torch.device("cpu")
VOCABULARY = 12


def draw(rules: list[Sampling], logits: torch.Tensor, prompt: tuple[int, ...] = ()) -> list[int]:
    return Draw([Sampler(rule, prompt, logits.shape[-1], CPU) for rule in rules], CPU)(logits)


def allowed(rule: Sampling, logits: torch.Tensor) -> set[int]:
    """Token ids the rule may draw, worked out one at a time."""
    shares = (logits / rule.temperature).softmax(-1).tolist()
    order = sorted(range(len(shares)), key=lambda token: -shares[token])[: rule.top_k or None]
    total, mass = sum(shares[token] for token in order), 0.0
    kept: list[int] = []
    for token in order:
        if mass / total >= rule.top_p and kept:
            break
        mass += shares[token]
        kept.append(token)
    return {token for token in kept if shares[token] >= rule.min_p * shares[kept[0]]}


@given(
    seed=st.integers(0, 2**32),
    top_p=st.sampled_from([0.05, 0.3, 0.8, 1.0]),
    top_k=st.sampled_from([0, 1, 3, 50]),
    min_p=st.sampled_from([0.0, 0.1, 0.6]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
)
@settings(max_examples=50)
def test_a_draw_when_trimmed_then_stays_within_top_k_top_p_and_min_p(
    seed: int, top_p: float, top_k: int, min_p: float, temperature: float
) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, VOCABULARY), scale=2).astype(np.float32))
    rule = Sampling(1, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    drawn = set(draw([rule] * 60, logits.expand(60, -1)))
    assert drawn <= allowed(rule, logits[0])


@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
    top_p=st.sampled_from([0.3, 0.95, 1.0]),
    top_k=st.sampled_from([0, 3, 90]),
    min_p=st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=8)
def test_a_draw_when_the_vocabulary_is_large_then_all_that_may_be_drawn_is_and_nothing_else(
    seed: int, spread: float, top_p: float, top_k: int, min_p: float
) -> None:
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(size=(1, 300), scale=spread).astype(np.float32))
    rule = Sampling(1, top_p=top_p, top_k=top_k, min_p=min_p, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "CANDIDATES", 16)
        drawn = Counter(draw([replace(rule, seed=number) for number in range(1500)], logits.expand(1500, -1).clone()))
    possible = allowed(rule, logits[0])
    shares = logits[0].softmax(-1)
    whole = float(shares[sorted(possible)].sum())
    assert set(drawn) <= possible
    for token in possible:
        expected = 1500 * float(shares[token]) / whole
        assert abs(drawn[token] - expected) < 6 * expected**0.5 + 6


def test_draws_when_many_then_are_as_frequent_as_their_probabilities() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -torch.inf, 1.5]])
    found = Counter(draw([Sampling(1, temperature=1.5)] * 20_000, logits.expand(20_000, -1)))
    for token, share in enumerate((logits[0] / 1.5).softmax(-1).tolist()):
        assert abs(found[token] / 20_000 - share) < 0.02
    assert found[3] == 0


def test_rows_when_rules_differ_then_each_is_drawn_as_if_alone() -> None:
    torch_logits = torch.from_numpy(np.random.default_rng(3).normal(size=(6, VOCABULARY)).astype(np.float32) * 3)
    rules = [
        Sampling(1, temperature=0),
        Sampling(1, temperature=0.7, seed=1),
        Sampling(1, temperature=0, logit_bias={4: 100.0}),
        Sampling(1, temperature=1.2, top_p=0.5, seed=2),
        Sampling(1, temperature=2.0, top_k=3, seed=-3),
        Sampling(1, temperature=1.0, min_p=0.2, repetition_penalty=1.5, seed=4),
    ]
    together = draw(rules, torch_logits.clone())
    alone = [draw([rule], torch_logits[row : row + 1].clone())[0] for row, rule in enumerate(rules)]
    assert together == alone
    assert together[0] == int(torch_logits[0].argmax()) and together[2] == 4


def test_penalties_when_tokens_repeat_then_follow_their_definitions() -> None:
    rule = Sampling(1, frequency_penalty=0.5, presence_penalty=0.25, repetition_penalty=2.0, logit_bias={3: 1.5})
    mine = Sampler(rule, [0, 5], 6, CPU)
    for token in (1, 1, 2):
        mine.record(token)
    logits = torch.tensor([4.0, 4.0, -4.0, 1.0, 1.0, -1.0])
    mine.adjust(logits)
    assert logits.tolist() == [2.0, 2.0 - 1.0 - 0.25, -8.0 - 0.5 - 0.25, 2.5, 1.0, -2.0]


def test_the_models_logits_when_adjusted_then_are_not_changed_for_others() -> None:
    logits = torch.zeros(2, VOCABULARY)
    draw([Sampling(1, logit_bias={0: 5.0}), Sampling(1, top_k=1)], logits)
    assert not logits.any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_row_when_its_logits_are_not_finite_then_it_alone_has_no_token(bad: float) -> None:
    logits = torch.zeros(2, VOCABULARY)
    logits[0, 3] = bad
    first, second = draw([Sampling(1), Sampling(1)], logits)
    assert first == -1 and second >= 0


def test_a_temperature_when_next_to_nothing_then_the_likeliest_token_is_certain() -> None:
    logits = torch.tensor([[300.0, 299.9, -torch.inf]]).expand(50, -1)
    assert draw([Sampling(1, temperature=1e-300)] * 50, logits) == [0] * 50


def test_a_seed_when_repeated_then_so_is_the_sequence() -> None:
    logits = torch.zeros(1, VOCABULARY)

    def sequence(seed: int) -> list[int]:
        steps = Draw([Sampler(Sampling(1, seed=seed), (), VOCABULARY, CPU)], CPU)
        return [steps(logits)[0] for _ in range(20)]

    assert sequence(8) == sequence(8) != sequence(9)

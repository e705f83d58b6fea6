"""What was read of one prompt is not read again for another, unless steering had changed it."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.base import Generation, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.transformers import batch as decoding
from proxy.engines.transformers import prefix_cache
from proxy.engines.transformers.engine import TransformersEngine, load
from proxy.engines.transformers.kv_cache import KeyValues
from proxy.engines.transformers.prefix_cache import BLOCK_TOKENS, PrefixCache
from proxy.engines.transformers.runner import ModelRunner
from proxy.settings import ModelSettings
from tests.engines.conftest import LoadPlain
from tests.engines.reference import is_greedy
from tests.engines.transformers.test_steering import push

UNSTEERED, LATE, EVERYWHERE = Plan(), Plan((push(1, "response", 4),)), Plan((push(1, "all", 3),))
OTHERWISE = Plan((push(1, "all", 5),))
GREEDY = Sampling(6, top_k=1)  # not by temperature 0: what is to be repeatable goes on from whole pieces alone


def states(tokens: list[int]) -> KeyValues:
    """Of one block; they tell which token they are of."""
    keys = torch.tensor(tokens, dtype=torch.float32)[None, :, None]
    return [(keys, -keys)]


def test_prompts_when_the_budget_is_small_then_the_least_asked_for_goes() -> None:
    one, two, three = ([number] * 20 for number in (1, 2, 3))
    cache = PrefixCache(2 * 2 * BLOCK_TOKENS * 4)
    cache.store("", one, states(one))
    cache.store("", two, states(two))
    assert cache.longest("", one)
    cache.store("", three, states(three))
    assert cache.longest("", one) and cache.longest("", three) and not cache.longest("", two)
    cache.store("", [4] * 60, states([4] * 60))
    assert not cache.longest("", [4] * 60) and cache.longest("", one)
    cache.clear()
    assert not cache.longest("", one)


SHORT_PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=5).map(
    lambda blocks: [n for n in blocks for _ in "12"]
)


@given(st.lists(st.tuples(st.sampled_from("ab"), SHORT_PROMPTS), max_size=14))
@settings(max_examples=50)
def test_a_prompt_when_looked_up_then_its_longest_beginning_under_its_own_key_is_found(
    prompts: list[tuple[str, list[int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_cache, "BLOCK_TOKENS", 2)
        cache = PrefixCache(10**6)
        for index, (key, prompt) in enumerate(prompts):
            known = [other for own, other in prompts[:index] if own == key]
            longest = max((common(prompt, other) // 2 * 2 for other in known), default=0)
            found = cache.longest(key, prompt)
            assert (found[0][0][0, :, 0].tolist() if found else []) == prompt[:longest]
            cache.store(key, prompt, states(prompt))


@given(st.lists(st.tuples(st.sampled_from("ab"), SHORT_PROMPTS), max_size=30))
@settings(max_examples=50)
def test_prompts_when_many_come_then_what_is_held_stays_within_the_budget_and_nothing_lingers(
    prompts: list[tuple[str, list[int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_cache, "BLOCK_TOKENS", 2)
        cache = PrefixCache(2 * 10 * 4)
        for key, prompt in prompts:
            cache.store(key, prompt, states(prompt))
            held = list(cache._entries)
            assert cache._bytes == sum(entry.n_bytes for entry in held) <= 2 * 10 * 4
            beginnings = {
                (entry.key, tuple(entry.tokens[: 2 * n + 2])) for entry in held for n in range(len(entry.tokens) // 2)
            }
            assert n_nodes(cache._roots.values()) == len(beginnings)


def n_nodes(roots: Iterable[Any]) -> int:
    return sum(len(root.children) + n_nodes(root.children.values()) for root in roots)


def common(first: list[int], second: list[int]) -> int:
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    return length


@pytest.fixture
def engine(qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> TransformersEngine:
    """One with an empty cache; `tokens_read` counts what its model reads of prompts."""
    read_chunk = ModelRunner.read_chunk

    def counting(self: ModelRunner, rows: list[list[int]], *args: object, **kwargs: object) -> object:
        tokens_read.append(sum(map(len, rows)))
        return read_chunk(self, rows, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelRunner, "read_chunk", counting)
    monkeypatch.setattr(decoding, "PREFIX_SHARE", 100.0)  # these weights are smaller than a prompt's keys and values
    tokens_read.clear()
    return load(ModelSettings(id="tiny", source=str(qwen2)), 4)


tokens_read: list[int] = []


def test_a_prompt_when_begun_before_then_only_the_rest_is_read(engine: TransformersEngine) -> None:
    begun = engine.encode("the same long beginning, " * 30)
    assert len(begun) > 512
    generate_all(engine, [Generation([*begun, 1, 2], GREEDY, LATE)])
    read = sum(tokens_read)
    generate_all(engine, [Generation([*begun, 3, 4, 5], GREEDY, UNSTEERED)])
    assert read >= len(begun) and 3 <= sum(tokens_read) - read < 3 + BLOCK_TOKENS
    engine.close()


def test_many_answers_to_one_long_prompt_when_asked_at_once_then_it_is_read_once(engine: TransformersEngine) -> None:
    prompt = engine.encode("n choices " * 11)
    answers = generate_all(engine, [Generation(prompt, GREEDY, LATE)] * 4)
    assert sum(tokens_read) < len(prompt) + 3 * (BLOCK_TOKENS + 1) and answers == answers[:1] * 4
    engine.close()


def test_a_prompt_when_read_before_under_any_plan_then_the_answer_is_its_own_plan_s(
    engine: TransformersEngine, qwen2: Path, plain: LoadPlain
) -> None:
    ways = product([UNSTEERED, LATE, EVERYWHERE, OTHERWISE], [UNSTEERED, LATE, EVERYWHERE])
    for number, (before, plan) in enumerate(ways, 10):
        prompt = engine.encode(f"{number} prompts, none of which begins as another, each of two requests")
        generate_all(engine, [Generation(prompt, GREEDY, before)])
        [answer] = generate_all(engine, [Generation(prompt, GREEDY, plan)])
        assert is_greedy(plain(qwen2), prompt, answer.token_ids, plan, answer.finish_reason == "stop")
        shared = before.prompt_key == plan.prompt_key
        assert (tokens_read[-1] <= BLOCK_TOKENS) == shared, (before, plan)
    engine.close()

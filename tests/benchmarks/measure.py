"""Measures one server: every condition at every concurrency, in rounds.

In a round each condition has one burst, right after the others, and the order turns from round to round. So what the
machine does meanwhile falls on all conditions alike, and the ratio of two within a round means something.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.client import BenchmarkError, Burst, burst
from tests.benchmarks.records import Load
from tests.benchmarks.servers import SHORT_ANSWER, Condition, Running, Server, running

CONCURRENCIES = (1, 4, 8, 16, 32)

Progress = Callable[[str, int, int], None]  # what, how many are done, of how many


@dataclass(frozen=True)
class Workload:
    """`tokens` to an answer; `rounds` of bursts, each of at least `requests` answers, at each of `concurrencies`."""

    tokens: int
    requests: int
    rounds: int
    concurrencies: Sequence[int] = CONCURRENCIES


@dataclass(frozen=True)
class Measured:
    """A server's loads, and how long its prompts were, in tokens, if it says so."""

    loads: list[Load]
    prompt_tokens: int | None


async def measure(server: Server, workload: Workload, threads: int, progress: Progress) -> Measured:
    """Start the server, warm it up, measure it, end it. BenchmarkError where any answer fails or is too short."""
    numbers = itertools.count()
    total = len(workload.concurrencies) * workload.rounds * len(server.conditions)
    progress(f"{server.name}: starting", 0, total)
    async with running(server, threads) as process:
        await _warm_up(server, process, max(workload.concurrencies), numbers)
        bursts: dict[tuple[Condition, int], list[Burst]] = {}
        done = 0
        for concurrency in workload.concurrencies:
            for turn in range(workload.rounds):
                for condition in _turned(server.conditions, turn):
                    count = max(concurrency, workload.requests)
                    bodies = [server.body(condition, next(numbers), workload.tokens) for _ in range(count)]
                    result = await burst(process.client, bodies, concurrency, server.at_once)
                    _check(result, workload.tokens)
                    bursts.setdefault((condition, concurrency), []).append(result)
                    done += 1
                    progress(server.name, done, total)
    loads = [_load(*key, found) for key, found in bursts.items()]
    return Measured(loads, result.answers[0].prompt_tokens)


async def _warm_up(server: Server, process: Running, concurrency: int, numbers: "itertools.count[int]") -> None:
    for condition in server.conditions:
        for at_once in (1, concurrency):
            bodies = [server.body(condition, next(numbers), SHORT_ANSWER) for _ in range(at_once)]
            await burst(process.client, bodies, at_once, server.at_once)


def _turned(conditions: Sequence[Condition], turn: int) -> list[Condition]:
    start = turn % len(conditions)
    return [*conditions[start:], *conditions[:start]]


def _check(result: Burst, tokens: int) -> None:
    for answer in result.answers:
        if answer.completion_tokens != tokens:
            raise BenchmarkError(f"an answer had {answer.completion_tokens} tokens, where {tokens} were asked for")


def _load(condition: Condition, concurrency: int, bursts: Sequence[Burst]) -> Load:
    first = np.array([answer.first_s for each in bursts for answer in each.answers])
    return Load(
        condition,
        concurrency,
        [round(each.tokens_per_s, 2) for each in bursts],
        (round(float(np.median(first)), 4), round(float(np.percentile(first, 95)), 4)),
    )

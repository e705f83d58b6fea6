"""Ten thousand short requests to one server: does its memory stay flat?

Personas, coefficients, modes, prompts and lengths change all the time, every tenth client hangs up in the middle, every
tenth does not stream. Memory is the resident set of the server's process, read from outside.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import psutil

from tests.benchmarks.client import BenchmarkError, together
from tests.benchmarks.measure import Progress
from tests.benchmarks.records import SoakResult, today, versions
from tests.benchmarks.servers import Condition, Running, Server, running

CLIENTS = 24
HANG_UP_S = 0.02  # after which a client that does not stream hangs up
MODES = ("add", "target", "cap")
WARM_UP = 0.3  # of the requests: until then buffers grow, and the cache of prompts fills up to its bound
SAMPLES = 100
GROWTH = 0.05  # of the resident set, that is still called flat


async def soak(server: Server, requests: int, threads: int, progress: Progress) -> SoakResult:
    """Send `requests` and watch. BenchmarkError where one that was not hung up on fails."""
    memory: list[tuple[int, float]] = []
    cancelled = done = 0
    progress(f"{server.name}: starting", 0, requests)
    async with running(server, threads) as process:
        resident = psutil.Process(process.pid)
        waiting = _requests(server, requests)

        async def work() -> None:
            nonlocal cancelled, done
            for body, hangs_up in waiting:
                await _send(process, body, hangs_up)
                cancelled += hangs_up
                done += 1
                if done % max(1, requests // SAMPLES) == 0:
                    progress("requests", done, requests)
                    if done >= WARM_UP * requests:
                        memory.append((done, round(resident.memory_info().rss / 1e6, 2)))

        await together([work() for _ in range(CLIENTS)])
    counts, sizes = np.array(memory).T
    return SoakResult(
        model=server.model,
        date=today(),
        versions=versions(),
        requests=requests,
        cancelled=cancelled,
        rss_mb=memory,
        slope_mb=round(1000 * float(np.polyfit(counts, sizes, 1)[0]), 4),
    )


def flat(result: SoakResult) -> bool:
    """Whether the end is where the warm-up ended, within what allocators do by themselves."""
    sizes = [size for _, size in result.rss_mb]
    return float(np.median(sizes[-10:])) <= (1 + GROWTH) * float(np.median(sizes[:10]))


def _requests(server: Server, count: int) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each request's body, and whether its client hangs up."""
    rng = Random(0)
    for number in range(count):
        condition: Condition = "mixed" if rng.random() < 0.8 else "unsteered"
        body = server.body(condition, number, rng.randint(1, 16))
        body["messages"][0]["content"] += " Please." * rng.randrange(20)
        body |= {"temperature": rng.choice((0, 0.7, 1)), "stream": rng.random() < 0.9}
        if "steering" in body:
            body["steering"] = {**body["steering"], "mode": rng.choice(MODES)}
        if not body["stream"]:
            del body["stream_options"]
        yield body, rng.random() < 0.1


async def _send(process: Running, body: dict[str, Any], hangs_up: bool) -> None:
    """One request to its end, or to the first bytes of its answer; one that does not stream is left waiting."""
    patience_s = HANG_UP_S if hangs_up and not body["stream"] else None
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(patience_s),
            process.client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            if hangs_up:
                await anext(response.aiter_raw())
                return
            text = await response.aread()
            if response.status_code != 200 or (body["stream"] and not text.rstrip().endswith(b"data: [DONE]")):
                raise BenchmarkError(f"HTTP {response.status_code}: {text[-300:].decode(errors='replace')}")

"""Minutes of mixed traffic on both engines: memory, threads and files of the process stay flat."""

import asyncio
import contextlib
import statistics
import time
from random import Random

import httpx

from tests.hold.asking import CHAT, PERSONAS, chat, client_of, together, told
from tests.hold.figures import Figure, at_most, none_of
from tests.hold.server import MODELS, Server

CHECK = "mixed traffic"
CLIENTS = 12
SAMPLES = 120
WARM_UP = 0.3  # of the time, in which buffers grow and caches fill
GROWTH = 1.05  # between the first and the last third after that, still called flat
MORE = 8  # threads and files that may come and go
READ = ("/health", "/v1/models", "/api/models", "/api/vectors", "/api/jobs", "/api/monitor", "/api/traits/silly")
BAD = ({"temperature": 9}, {"persona": "nobody"}, {"max_tokens": 10**6}, {"grammar": "x"}, {"top_k": 2**64})


def mixed(server: Server, seconds: float) -> list[Figure]:
    """Traffic of all kinds for so long."""
    return asyncio.run(_mixed(server, seconds))


async def _mixed(server: Server, seconds: float) -> list[Figure]:
    statuses: list[int] = []
    samples: list[tuple[float, int, int]] = []
    ended = time.monotonic() + seconds
    async with client_of(server.url) as client:

        async def traffic(number: int) -> None:
            rng = Random(number)
            while time.monotonic() < ended:
                statuses.append(await _one(client, rng))

        async def watch() -> None:
            started = time.monotonic()
            while time.monotonic() < ended:
                await asyncio.sleep(seconds / SAMPLES)
                if time.monotonic() - started > WARM_UP * seconds:
                    samples.append((server.megabytes(), server.process.num_threads(), server.process.num_fds()))

        watching = asyncio.create_task(watch())
        await together(traffic, CLIENTS)
        await watching
    wrong = [status for status in statuses if status >= 500]
    return [
        none_of(CHECK, f"answers of 5xx in {seconds:g} s ({told(statuses)})", wrong),
        *_flat(samples),
        none_of(CHECK, "tracebacks in the log", server.tracebacks()),
    ]


def _flat(samples: list[tuple[float, int, int]]) -> list[Figure]:
    third = max(1, len(samples) // 3)
    first, last = samples[:third], samples[-third:]
    memory = [statistics.median(sample[0] for sample in part) for part in (first, last)]
    figures = [at_most(CHECK, f"memory at the end, of {memory[0]:.0f} MB before", memory[1], GROWTH * memory[0], " MB")]
    for at, name in ((1, "threads"), (2, "files")):
        before, after = (statistics.median(sample[at] for sample in part) for part in (first, last))
        figures.append(at_most(CHECK, f"{name} at the end, of {before:g} before", after, before + MORE))
    return figures


async def _one(client: httpx.AsyncClient, rng: Random) -> int:
    """One request of some kind; its status, 0 where it was left."""
    model, kind = rng.choice(MODELS), rng.random()
    if kind < 0.15:
        return (await client.get(rng.choice(READ))).status_code
    if kind < 0.25:
        return (await client.post(CHAT, json=chat(rng, model, **rng.choice(BAD)))).status_code
    if kind < 0.3:
        body = {"model": model, "prompt": "Hi", "persona": "silly", "coefficients": [0.5, 1], "max_tokens": 4}
        return (await client.post("/api/steering/test", json=body)).status_code
    body = chat(rng, model, persona=rng.choice(PERSONAS))
    if rng.random() < 0.1:
        body["response_format"] = {"type": "json_object", "schema": {"const": f"{rng.randrange(500)}"}}
    leaves_s = rng.uniform(0, 0.3) if rng.random() < 0.15 else 100
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(leaves_s), client.stream("POST", CHAT, json=body) as response:
            await response.aread()
            return response.status_code
    return 0

"""A storm of clients that leave: while they wait, while their prompts are read, and in the middle of an answer."""

import asyncio
import contextlib
import time
from random import Random

import httpx

from tests.hold.asking import CHAT, chat, client_of, long_chat, together, told
from tests.hold.figures import Figure, at_most, none_of
from tests.hold.server import MODELS, Server

CHECK = "cancellation storm"
PLACES = 8  # requests at once that must all be served afterwards


def storm(server: Server, clients: int, next_s: float) -> list[Figure]:
    """All leave within two seconds; the next request must be answered within `next_s`."""
    return asyncio.run(_storm(server, clients, next_s))


async def _storm(server: Server, clients: int, next_s: float) -> list[Figure]:
    rng = Random(1)
    async with client_of(server.url) as client:

        async def leave(number: int) -> None:
            body = long_chat(MODELS[number % len(MODELS)], stream=number % 3 > 0)
            with contextlib.suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(rng.uniform(0, 2)), client.stream("POST", CHAT, json=body) as response:
                    async for _ in response.aiter_raw():
                        pass

        await together(leave, clients)
        started = time.monotonic()
        statuses: list[int] = []
        for model in MODELS:
            answer = await client.post(CHAT, json=chat(rng, model, stream=False))
            statuses.append(answer.status_code)
        waited = time.monotonic() - started

        async def ask(number: int) -> None:
            answer = await client.post(CHAT, json=chat(rng, MODELS[number % 2], stream=False))
            statuses.append(answer.status_code)

        await together(ask, PLACES)
    return [
        at_most(CHECK, f"answers of both models after {clients} clients left", waited, next_s, " s"),
        Figure(CHECK, "requests afterwards", told(statuses), "all 200", set(statuses) == {200}),
        none_of(CHECK, "tracebacks in the log", server.tracebacks()),
    ]

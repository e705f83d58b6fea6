"""What checks ask a server for, and many requests at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import httpx

CHAT = "/v1/chat/completions"
PERSONAS = ("silly", "serious", "honest", "dishonest", "none")


def chat(rng: Random, model: str, **fields: Any) -> dict[str, Any]:
    """A request like many."""
    said = rng.choice(("What is the capital of Peru?", "Tell me about the sea.", "Name three fruits.", "Hello."))
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"{said} {rng.randrange(10**6)}"}],
        "max_tokens": rng.randint(1, 24),
        "temperature": rng.choice((0, 0.7, 1)),
        "stream": rng.random() < 0.6,
        **fields,
    }


def long_chat(model: str, stream: bool, tokens: int = 400) -> dict[str, Any]:
    """A request whose answer goes on until its client leaves, or for so many tokens."""
    schema = {"type": "string", "minLength": 5000}  # toys would end by themselves
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "max_tokens": tokens,
        "stream": stream,
        "response_format": {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}},
    }


def client_of(url: str) -> httpx.AsyncClient:
    """A client with as many connections as are asked for."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False)


async def together(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """All of it at once."""
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_run(work, number))


async def _run(work: Callable[[int], Awaitable[None]], number: int) -> None:
    await work(number)


def told(statuses: Sequence[int]) -> str:
    """How often each status came."""
    return ", ".join(f"{count} times {status}" for status, count in sorted(Counter(statuses).items()))

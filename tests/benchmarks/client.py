"""Streamed chat completions over HTTP, timed from outside: what a user of any OpenAI-compatible server would see.

One process, one event loop. It shares the machine with the server it times, so it reads no more of a stream than it
needs: every piece until the first text, and the usage at the end.
"""

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

PATIENCE_S = 600.0  # without a byte from the server


class BenchmarkError(Exception):
    """A measurement that can't be made, in words for whoever started it."""


class Unavailable(BenchmarkError):
    """The server does not answer yet: nobody listens, or it says 503."""


class ConnectionClosed(BenchmarkError):
    """The server closed the connection before it answered anything."""


@dataclass(frozen=True)
class Answer:
    """`first_s`: seconds from wanting the answer to its first text. `prompt_tokens`: None where nobody said. `text`:
    the content."""

    first_s: float
    prompt_tokens: int | None
    completion_tokens: int
    text: str = ""


@dataclass(frozen=True)
class Burst:
    """Answers that were asked for together. `wall_s`: seconds from the first request to the end of the last answer."""

    wall_s: float
    answers: list[Answer]

    @property
    def tokens_per_s(self) -> float:
        """Completion tokens of all answers per second."""
        return sum(answer.completion_tokens for answer in self.answers) / self.wall_s


def new_client(url: str) -> httpx.AsyncClient:
    """A client of one server with as many connections as are asked for. Idle ones are closed before a server does it,
    which would be while the client sends the next request."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=1.0)
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits, trust_env=False)


async def burst(
    client: httpx.AsyncClient, bodies: Sequence[dict[str, Any]], concurrency: int, at_once: int | None = None
) -> Burst:
    """Ask for all `bodies`, `concurrency` at a time, the next one as soon as one has ended.

    `at_once`: what a server can take that breaks off whatever is more; the rest wait here, and that counts for them.
    """
    waiting = iter(bodies)
    gate = asyncio.Semaphore(at_once or len(bodies))
    began = time.perf_counter()

    async def work() -> list[Answer]:
        answers = []
        for body in waiting:
            wanted = time.perf_counter()
            async with gate:
                answers.append(await ask(client, body, wanted))
        return answers

    answers = await together([work() for _ in range(min(concurrency, len(bodies)))])
    return Burst(time.perf_counter() - began, [answer for some in answers for answer in some])


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, in their order. The first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in coroutines]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def ask(client: httpx.AsyncClient, body: dict[str, Any], wanted: float | None = None) -> Answer:
    """One answer, timed from when it was `wanted`, by default now. BenchmarkError where the server refuses or the
    stream does not end as it should."""
    began = time.perf_counter() if wanted is None else wanted
    try:
        return await _asked(client, body, began)
    except ConnectionClosed:  # by a server that takes only so many requests by one, just when it was to be used again
        return await _asked(client, body, began)


async def _asked(client: httpx.AsyncClient, body: dict[str, Any], began: float) -> Answer:
    first_s: float | None = None
    received = bytearray()
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                text = (await response.aread()).decode(errors="replace")
                kind = Unavailable if response.status_code == 503 else BenchmarkError
                raise kind(f"HTTP {response.status_code}: {text[:300]}")
            async for piece in response.aiter_raw():
                received += piece
                if first_s is None and any(_has_text(chunk) for chunk in _chunks(received)):
                    first_s = time.perf_counter() - began
    except httpx.ConnectError as error:
        raise Unavailable(str(error)) from error
    except httpx.HTTPError as error:
        if isinstance(error, httpx.RemoteProtocolError) and not received:
            raise ConnectionClosed(f"it closed the connection instead of answering: {error}") from error
        raise BenchmarkError(f"{type(error).__name__}: {error}") from error
    lengths = _lengths(received, body)
    if lengths is None or first_s is None:
        raise BenchmarkError(f"the stream ended without usage or text: ...{received[-300:].decode(errors='replace')}")
    return Answer(first_s, *lengths, _text(received))


def _lengths(received: bytearray, body: dict[str, Any]) -> tuple[int | None, int] | None:
    """Tokens of prompt and answer: what the usage says, or where a server streams none, that the answer was cut off."""
    for chunk in reversed(list(_chunks(received))):
        if usage := chunk.get("usage"):
            return usage["prompt_tokens"], usage["completion_tokens"]
        if any(choice.get("finish_reason") == "length" for choice in chunk["choices"]):
            return None, body["max_tokens"]
    return None


def _chunks(received: bytearray) -> Iterator[dict[str, Any]]:
    """The whole chunks among what was received."""
    whole = received[: received.rfind(b"\n") + 1]
    for line in whole.splitlines():
        if line.startswith(b"data: {"):
            chunk: dict[str, Any] = json.loads(line[len(b"data: ") :])
            if "error" in chunk:
                raise BenchmarkError(f"the server broke off: {chunk['error']}")
            yield chunk


def _text(received: bytearray) -> str:
    deltas = (choice["delta"] for chunk in _chunks(received) for choice in chunk["choices"])
    return "".join(delta.get("content") or "" for delta in deltas)


def _has_text(chunk: dict[str, Any]) -> bool:
    return any(
        choice["delta"].get("content") or choice["delta"].get("reasoning_content") for choice in chunk["choices"]
    )

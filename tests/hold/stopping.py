"""SIGTERM in the middle of everything: everybody gets a proper end, and the process is gone in time."""

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.hold.asking import CHAT, client_of, long_chat, together
from tests.hold.figures import Figure, at_most, none_of
from tests.hold.server import MODELS, Started

CHECK = "shutdown"
GONE_S = 10.0
HALF_SENT = 25


def stopping(folder: Path, rounds: int) -> list[Figure]:
    """Streams, whole answers, a job and half-sent requests, each time in a new server."""
    took: list[float] = []
    faults: list[str] = []
    tracebacks: list[str] = []
    for number in range(rounds):
        folder.joinpath(str(number)).mkdir(parents=True)
        server = Started(folder / str(number)).until_ready()
        seconds, found = asyncio.run(_stopped(server))
        took.append(seconds)
        faults += found
        tracebacks += server.tracebacks()
    return [
        at_most(CHECK, f"seconds from SIGTERM to the end, the longest of {rounds}", max(took), GONE_S, " s"),
        none_of(CHECK, "answers without a proper end", faults),
        none_of(CHECK, "tracebacks in the log", tracebacks),
    ]


async def _stopped(server: Started) -> tuple[float, list[str]]:
    faults: list[str] = []
    where = urlsplit(server.url)
    half = [socket.create_connection((where.hostname, where.port)) for _ in range(HALF_SENT)]
    for each in half:
        each.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
    server.client.post("/api/vectors/generate", json={"model": MODELS[0], "trait": "silly"}).raise_for_status()
    async with client_of(server.url) as client:

        async def ask(number: int) -> None:
            stream = number % 2 == 0
            body = long_chat(MODELS[number // 2 % 2], stream, tokens=900) | ({} if stream else {"n": 4})
            try:
                answer = await client.post(CHAT, json=body)
            except httpx.HTTPError as error:
                faults.append(f"stream={stream}: {error!r}")
                return
            if (fault := _fault(answer, stream)) is not None:
                faults.append(fault)

        asking = asyncio.create_task(together(ask, 8))
        await asyncio.sleep(1.5)
        seconds = await asyncio.to_thread(server.end)
        await asking
    for each in half:
        each.close()
    return seconds, faults


def _fault(answer: httpx.Response, stream: bool) -> str | None:
    """What is wrong with how it ended; None for a whole answer and for a proper error."""
    if stream and answer.status_code == 200:
        last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1].removeprefix("data: ")
        return None if last == "[DONE]" or "error" in json.loads(last) else f"the stream ended with {last[:200]}"
    if answer.status_code == 200:
        return None
    if answer.status_code == 503 and "retry-after" in answer.headers and "error" in answer.json():
        return None
    return f"{answer.status_code} {answer.text[:200]}"

"""What bad requests cost in memory: prompts far too long, bodies that are refused, uploads, schemas."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import httpx

from tests.hold.asking import CHAT, client_of, together, told
from tests.hold.figures import Figure, at_most, none_of
from tests.hold.server import MODELS, Server

BOUND_MB = 700.0  # above what it was, whatever comes: docs/guide/operations.md names it
UPLOAD_MB = 60
MESSAGES = [{"role": "user", "content": "Hello."}]


def huge_prompts(server: Server, at_once: int, rounds: int) -> list[Figure]:
    """Prompts of 4 MB, so many at once, all to be refused."""
    check = "huge prompts"
    bodies = [
        json.dumps(
            {"model": model, "messages": [{"role": "user", "content": text * (4_000_000 // len(text))}]}
        ).encode()
        for model in MODELS
        for text in ("word ", "-", "a b ")
    ]
    with server.peak() as peak:
        statuses = [each for _ in range(rounds) for each in _all(server, CHAT, bodies, at_once)]
    return [
        Figure(
            check, f"answers to {rounds} times {at_once} prompts of 4 MB", told(statuses), "all 400", _are(statuses)
        ),
        at_most(check, "memory meanwhile, above what it was", peak.megabytes, BOUND_MB, " MB"),
        none_of(check, "tracebacks in the log", server.tracebacks()),
    ]


def bad_requests(server: Server, count: int) -> list[Figure]:
    """Requests that are heavy to refuse, eight at a time."""
    check = "bad requests"
    kinds: list[dict[str, Any]] = [
        {"response_format": _schema({"const": "a" * 3_000_000})},
        {"response_format": _schema({"enum": [f"value {n}" for n in range(200_000)]})},
        {"response_format": {"type": "json_object", "schema": {"const": "b" * 60_000, "not": {}}}},
        {"metadata": {f"k{n}": "v" for n in range(200_000)}, "temperature": 3},
        {"logit_bias": {str(n): 1 for n in range(200_000)}, "top_p": 2},
        {"stop": ["x" * 3_000_000], "n": 9},
        {"persona": "x" * 3_000_000},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 60_000}, {"role": "nobody"}]},
        {"tools": [{"type": "function", "function": {"name": f"f{n}"}} for n in range(40_000)], "seed": "x"},
    ]
    bodies = [json.dumps({"model": MODELS[0], "messages": MESSAGES, **kind}).encode() for kind in kinds]
    bodies.append(b'{"messages": [' + b'{"a": [1]},' * 300_000 + b"NaN]}")
    with server.peak() as peak:
        statuses = [each for _ in range(max(1, count // len(bodies))) for each in _all(server, CHAT, bodies, 8)]
    return [
        Figure(
            check, f"answers to {len(statuses)} of 1 to 4 MB", told(statuses), "all 4xx", _are(statuses, 400, 404, 422)
        ),
        at_most(check, "memory meanwhile, above what it was", peak.megabytes, BOUND_MB, " MB"),
        none_of(check, "tracebacks in the log", server.tracebacks()),
    ]


def good_schemas(server: Server, count: int) -> list[Figure]:
    """Schemas of the largest size that is taken, each another one: what is kept of them is bounded."""
    check = "large schemas"
    bodies = [
        json.dumps(
            {"messages": MESSAGES, "model": MODELS[0], "max_tokens": 1}
            | {"response_format": _schema({"const": f"{number} " + "a" * 65_000})}
        ).encode()
        for number in range(count)
    ]
    with server.peak() as peak:
        statuses = _all(server, CHAT, bodies, 4)
    return [
        Figure(check, f"answers with {count} schemas of 64 KiB", told(statuses), "all 200", _are(statuses, 200)),
        at_most(check, "memory meanwhile, above what it was", peak.megabytes, BOUND_MB, " MB"),
    ]


def uploads(server: Server, count: int) -> list[Figure]:
    """Vectors of 60 MB that are none, all at once."""
    check = "large uploads"
    contents = [
        b"GGUF" + (3).to_bytes(4, "little") + (2**40).to_bytes(8, "little") * 2 + bytes(UPLOAD_MB * 1_000_000),
        b"{" + b'"a":[[[1,2],[3]]],' * (UPLOAD_MB * 55_000) + b"}",
        bytes(UPLOAD_MB * 1_000_000),
    ]
    with server.peak() as peak:
        started = time.monotonic()
        statuses = asyncio.run(_uploaded(server, contents, count))
        took = time.monotonic() - started
    return [
        Figure(
            check,
            f"answers to {count} files of {UPLOAD_MB} MB at once, in {took:.1f} s",
            told(statuses),
            "all 400, 413 or 429",
            _are(statuses, 400, 413, 429),
        ),
        at_most(check, "memory meanwhile, above what it was", peak.megabytes, BOUND_MB, " MB"),
        none_of(check, "tracebacks in the log", server.tracebacks()),
    ]


async def _uploaded(server: Server, contents: Sequence[bytes], count: int) -> list[int]:
    statuses: list[int] = []
    async with client_of(server.url) as client:

        async def upload(number: int) -> None:
            file = {"file": ("vector", contents[number % len(contents)])}
            answer = await client.post("/api/vectors/import?model=demo-qwen2&trait=silly", files=file)
            statuses.append(answer.status_code)

        await together(upload, count)
    return statuses


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}


def _are(statuses: Sequence[int], *wanted: int) -> bool:
    return bool(statuses) and set(statuses) <= set(wanted or (400,))


def _all(server: Server, path: str, bodies: Sequence[bytes], at_once: int) -> list[int]:
    """The statuses of all bodies, and of as many as are asked at once if that is more."""
    wanted = [bodies[number % len(bodies)] for number in range(max(at_once, len(bodies)))]
    return asyncio.run(_statuses(server, path, wanted, at_once))


async def _statuses(server: Server, path: str, bodies: Sequence[bytes], at_once: int) -> list[int]:
    places, statuses = asyncio.Semaphore(at_once), list[int]()
    async with client_of(server.url) as client:

        async def ask(number: int) -> None:
            async with places:
                answer: httpx.Response = await client.post(
                    path, content=bodies[number], headers={"content-type": "application/json"}
                )
            statuses.append(answer.status_code)

        await together(ask, len(bodies))
    return statuses

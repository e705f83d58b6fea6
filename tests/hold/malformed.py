"""Malformed requests over every route: cut off, with bytes changed, of wrong types, too deep, too large, not JSON."""

import copy
import gzip
import json
from random import Random
from typing import Any

import httpx

from tests.hold.asking import told
from tests.hold.figures import Figure, none_of
from tests.hold.server import Server

CHECK = "malformed requests"
HUB = ("/api/vectors/push", "/api/vectors/pull")  # what they answer is another server's doing
ODD: list[Any] = [
    None, True, -1, 0, 2**63, -(2**63), 2**64, 1e308, 5e-324, "", "\0", "é" * 300, "../../etc/passwd", "a/b/c",
    [], {}, [[]], [None], {"": None}, "x" * 20000, "\ud800", ["a"] * 500, {"$ref": "#"},
]  # fmt: skip
# What clients of OpenAI's find, with /v1 and without; the document leaves some of it out.
OPENAI = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/chat/completions",
    "/completions",
    "/responses",
)
BASES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "demo-qwen2",
        "messages": [{"role": "user", "content": "Hello."}],
        "max_tokens": 2,
        "temperature": 0.5,
        "stop": ["x"],
        "logit_bias": {"5": 1},
        "persona": "silly",
        "steering": {"mode": "add", "layers": [1]},
        "response_format": {"type": "json_object", "schema": {"type": "object"}},
        "tools": [],
        "metadata": {"persona": "none"},
    },
    "/v1/responses": {
        "model": "demo-qwen2",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "a", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "None."},
        ],
        "max_output_tokens": 2,
        "tools": [{"type": "function", "name": "find", "parameters": {"type": "object"}}, {"type": "web_search"}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "find"}]},
        "text": {"format": {"type": "json_schema", "name": "it", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 1,
        "metadata": {"persona": "none"},
        "persona": "silly",
        "stream": False,
    },
    "/v1/completions": {
        "model": "demo-qwen2",
        "prompt": ["Hi", "there"],
        "max_tokens": 2,
        "echo": True,
        "logprobs": 2,
        "logit_bias": {"5": 1},
        "persona": "silly",
        "steering": {"positions": "all"},
        "stop": ["x"],
    },
    "/v1/embeddings": {"model": "demo-qwen2", "input": ["Hello."], "encoding_format": "float"},
    "/api/steering/test": {"model": "demo-qwen2", "prompt": "Hi", "persona": "silly", "max_tokens": 2},
}
ANY = {"model": "none-such", "trait": "silly", "name": "odd", "rollouts": 1, "questions": 1, "coefficients": [0, 1]}


def malformed(server: Server, count: int) -> list[Figure]:
    """Send `count` over all that the document has, and as many over what clients of OpenAI's find; look for what should
    not be."""
    rng = Random(2)
    return [
        *_sent(server, rng, count, _operations(server)),
        *_sent(server, rng, count, [("POST", path) for path in OPENAI]),
        none_of(CHECK, "tracebacks in the log", server.tracebacks()),
    ]


def _sent(server: Server, rng: Random, count: int, operations: list[tuple[str, str]]) -> list[Figure]:
    statuses: list[int] = []
    faults: list[str] = []
    for number in range(count):
        method, path = operations[number % len(operations)]
        url, content, headers = _request(rng, path)
        try:
            response = server.client.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            faults.append(f"{method} {url[:80]}: {error!r}")
            continue
        statuses.append(response.status_code)
        if response.status_code >= 500:
            faults.append(f"{method} {url[:80]} {content[:200]!r}: {response.status_code} {response.text[:200]}")
        elif response.status_code >= 400 and "error" not in response.json():
            faults.append(f"{method} {url[:80]}: no error object in {response.text[:200]}")
    return [
        none_of(CHECK, f"faults in answers to {count} over {len(operations)} operations ({told(statuses)})", faults)
    ]


def _operations(server: Server) -> list[tuple[str, str]]:
    paths = server.client.get("/schema/openapi.json").json()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path not in HUB and not path.endswith("/events")
    ]


def _request(rng: Random, path: str) -> tuple[str, bytes, dict[bytes, bytes]]:
    words = ("demo-qwen2", "silly", "none", "%00", "%2e%2e", "a%20b", "%ff", "x" * 300, "1")
    url = "/".join(rng.choice(words) if part.startswith("{") else part for part in path.split("/"))
    if rng.random() < 0.2:
        url += "?" + rng.choice(
            ("limit=-1", "limit=x", "model=%ff", "format=zip", "last=99999999999999999999", "a&&==")
        )
    content = _content(rng, BASES.get(path, BASES.get(f"/v1{path}", ANY)))
    kind = b"application/json" if rng.random() < 0.9 else rng.choice((b"text/plain", b"", b"x/xml", b"\xc3\xa9"))
    headers = {b"content-type": kind}
    if rng.random() < 0.1:
        headers[b"content-encoding"] = rng.choice((b"gzip", b"gzip", b"br", b"\xc3\xa9"))
        packed = gzip.compress(content, mtime=0)
        content = rng.choice((packed, packed[: rng.randrange(len(packed))], content, packed + content))
    return url, content, headers


def _content(rng: Random, base: dict[str, Any]) -> bytes:
    value = json.loads(json.dumps(base))
    for _ in range(rng.randint(0, 3)):
        _change(rng, value)
    content = json.dumps(value).encode()
    match rng.randrange(8):
        case 0:
            return content[: rng.randrange(len(content))]
        case 1:
            at = rng.randrange(len(content))
            return content[:at] + rng.randbytes(rng.randint(1, 4)) + content[at + 1 :]
        case 2:
            depth = rng.choice((60, 70, 2000, 100000))
            return b'{"messages":' + rng.choice((b"[", b'{"a":')) * depth
        case 3:
            return rng.choice((b"", b"null", b"[]", b"\xff\xfe", b'"x"', b"NaN", b"{}{}", rng.randbytes(200)))
    return content


def _change(rng: Random, value: Any) -> None:
    """Put something odd in one place of it."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.4:
            value[key] = copy.deepcopy(rng.choice(ODD))
            return
        value = value[key]

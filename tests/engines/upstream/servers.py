"""Servers that a model can run on, for tests: scripted ones, and ours in front of them."""

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from litestar.types import Receive, Scope, Send

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.engines.vllm.directive import Directive
from proxy.settings import ModelSettings, UpstreamSettings
from tests.fakes import PromptServer, running, settings_in, wait_until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


class Scripted:
    """An OpenAI-compatible server. Each request does the next of `script`, and is answered "fine" where that is over.

    A number is a status with an error, an object is sent as a frame behind one token, "lost" closes the connection
    behind the headers, "cut" behind a token, "whole" does not stream, "silent" says nothing, and "held" is answered
    once `go` is set.
    """

    def __init__(self, *script: Any, maker: str = "vllm", steers: dict[str, Any] | None = None) -> None:
        """`steers` is what it says plans are made for, as a vLLM with our plugin does."""
        self.script = deque(script)
        self.maker = maker
        self.steers = steers
        self.told: list[Directive] = []  # plans, in the order they came
        self.known: set[str] = set()
        self.forgetful = False  # it never knows a plan
        self.read: list[tuple[str, list[float]]] | None = None  # of each answer, by token; None where it was lost
        self.no_channel = False  # the model has none of those that a plan is for
        self.health = 200
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = 0  # requests whose client went away
        self.go = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/v1/models":
            listed = {"object": "list", "data": [{"id": "big", "owned_by": self.maker, "max_model_len": 4096}]}
            return await _whole(send, 200, listed)
        if path == "/health":
            return await _whole(send, self.health, {})
        if path == "/v1/persona/model":
            return await _whole(send, 404 if self.steers is None else 200, self.steers or {})
        if path.startswith("/v1/persona/readings/"):
            named = [request["vllm_xargs"].get("persona_read") for request in self.asked]
            known = self.read is not None and path.rpartition("/")[2] in named
            return await _whole(send, 200 if known else 404, {"tokens": self.read})
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if path == "/v1/persona/plans":
            await self._learn(scope, send, body)
            return
        self.asked.append(json.loads(body))
        self.keys.append(dict(scope["headers"]).get(b"authorization", b"").decode() or None)
        plan = self.asked[-1].get("vllm_xargs", {}).get("persona_plan")
        if plan is not None and (plan not in self.known or self.forgetful):
            await self._answer(receive, send, "unknown plan")
            return
        await self._answer(receive, send, self.script.popleft() if self.script else "fine")

    async def _learn(self, scope: Scope, send: Send, body: bytes) -> None:
        if self.steers is None:
            return await _whole(send, 404, {})
        if scope["query_string"] != f"weights={self.steers['fingerprint']}".encode():
            return await _whole(send, 409, {"error": {"message": "the plan was made for other weights"}})
        if self.no_channel:
            error = {"message": "no", "type": "invalid_request_error", "param": "persona_channels", "code": 400}
            return await _whole(send, 400, {"error": error})
        self.told.append(Directive.from_bytes(body))
        self.known.add(self.told[-1].id)
        await _whole(send, 200, {"id": self.told[-1].id})

    async def _answer(self, receive: Receive, send: Send, act: Any) -> None:
        if isinstance(act, int):
            error: dict[str, Any] = {"message": f"because of {act}", "type": "a_type", "param": "top_k", "code": None}
            return await _whole(send, act, {"error": error}, [(b"retry-after", b"7")])
        if act == "whole":
            return await _whole(send, 200, {"choices": []}, [(b"content-type", b"application/json")])
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if act == "unknown plan":  # as vLLM refuses what is asked for as a stream
            error = {"message": "unknown", "type": "BadRequestError", "param": "persona_plan", "code": 400}
            await _frame(send, {"error": error})
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})
            return
        await _frame(send, _chunk({"role": "assistant", "content": ""}))
        if act == "lost":
            raise ConnectionAbortedError
        if act in ("silent", "held"):
            await self._hold(receive, act)
        await _frame(send, _chunk({"content": "fi"}))
        if act == "cut":
            raise ConnectionAbortedError
        if isinstance(act, dict):
            await _frame(send, act)
        await _frame(send, _chunk({"content": "ne"}))
        await _frame(send, _chunk({}, "stop"))
        await _frame(send, {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _hold(self, receive: Receive, act: str) -> None:
        gone = asyncio.ensure_future(receive())
        while act == "silent" or not self.go.is_set():
            if gone.done():
                self.gone += 1
                raise ConnectionAbortedError
            await asyncio.sleep(0.01)
        gone.cancel()


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


async def _frame(send: Send, data: dict[str, Any]) -> None:
    body = b"data: " + json.dumps(data).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _whole(send: Send, status: int, data: dict[str, Any], headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    start = {"type": "http.response.start", "status": status, "headers": [*headers]}
    await send(start)  # type: ignore[arg-type]
    await send({"type": "http.response.body", "body": json.dumps(data).encode(), "more_body": False})


@contextlib.contextmanager
def run(server: Scripted, port: int = 0) -> Iterator[str]:
    """A real server; yields its base URL."""
    uvicorn_ = PromptServer(
        uvicorn.Config(server, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=uvicorn_.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: uvicorn_.started)
        yield f"http://127.0.0.1:{uvicorn_.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        uvicorn_.should_exit = True
        thread.join(30)


@contextlib.contextmanager
def near(
    folder: Path, urls: Sequence[str], *, name: str = "big", **upstream: Any
) -> Iterator[tuple[httpx.Client, Registry]]:
    """Our server in front of servers that have the model `name`, which is called `far` here."""
    options = {"check_every_s": 0.2, "wait_s": 20.0, **upstream}
    model = ModelSettings("far", f"{' '.join(urls)}#{name}", "upstream", upstream=UpstreamSettings(**options))
    registry = Registry([model])
    registry.start()
    try:
        assert registry.wait(60)
        app = create_app(settings_in(folder, models=[model]), registry)
        with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield client, registry
    finally:
        registry.close()


def asked(client: httpx.Client, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    """A chat, unless the body says otherwise."""
    messages = {} if path == "/v1/completions" or path == "/v1/responses" else {"messages": QUESTION}
    return client.post(path, json={"model": "far", **messages, **body})

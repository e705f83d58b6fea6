"""The end of requests that have no answer: at the server's shutdown, and when their body does not come."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from litestar.types import ASGIApp, Receive, Scope, Send

from proxy.errors import RequestTimeout
from proxy.serving import shutdown
from proxy.serving.shutdown import EndedInTime

Sent = list[dict[str, Any]]
SCOPE: Any = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"done", "more_body": False})


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


def called(app: EndedInTime, sent: Sent) -> Coroutine[Any, Any, None]:
    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    return app(SCOPE, receive, send)


def ended(app: ASGIApp, stop: Callable[[EndedInTime], None]) -> Sent:
    """What a request was sent, where `stop` is called while it runs."""

    async def run() -> Sent:
        sent: Sent = []
        wrapped = EndedInTime(app)
        task = asyncio.ensure_future(called(wrapped, sent))
        await asyncio.sleep(0.01)
        stop(wrapped)
        await task
        return sent

    return asyncio.run(run())


def test_request_when_it_has_no_answer_at_the_end_then_503_says_when_to_come_back() -> None:
    start, body = ended(never, EndedInTime.stop)
    headers = dict(start["headers"])
    assert start["status"] == 503 and headers[b"retry-after"] == b"5" and headers[b"connection"] == b"close"
    error = msgspec.json.decode(body["body"])["error"]
    assert error["code"] == "server_stopping" and set(error) == {"message", "type", "param", "code"}


def test_request_when_its_answer_has_begun_then_it_goes_on() -> None:
    start, body = ended(stream, EndedInTime.stop)
    assert (start["status"], body["body"]) == (200, b"done")


def test_request_when_it_comes_after_the_end_then_503() -> None:
    async def run() -> Sent:
        sent: Sent = []
        app = EndedInTime(never)
        app.stop()
        await called(app, sent)
        return sent

    assert asyncio.run(run())[0]["status"] == 503


def test_request_when_its_client_is_gone_then_the_cancellation_goes_on() -> None:
    async def run() -> None:
        task = asyncio.ensure_future(called(EndedInTime(never), []))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_body_when_it_does_not_come_then_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "BODY_S", 0.01)
    with pytest.raises(RequestTimeout):
        asyncio.run(called(EndedInTime(reads), []))

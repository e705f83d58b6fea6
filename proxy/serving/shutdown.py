"""Everybody gets a proper end: requests that are cut short by the server's shutdown, and bodies that never come.

An ASGI app around the real one. A request whose answer has begun, such as a stream, ends in its own way; one whose
answer has not begun is told 503 when the server's patience is over, whatever it was waiting for.
"""

import asyncio

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from proxy.errors import ProxyError, RequestTimeout, ServerStopping, error_body

BODY_S = 60.0  # between two pieces of a request's body


class EndedInTime:
    """`app`, whose unanswered requests `stop` ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._unanswered: set[asyncio.Task[object]] = set()
        self._stopped = False

    def stop(self) -> None:
        """End every request that has no answer yet, now and from now on. On the event loop."""
        self._stopped = True
        for task in list(self._unanswered):
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        body_has_come = False

        async def receive_in_time() -> HTTPReceiveMessage:
            nonlocal body_has_come
            if body_has_come:
                return await receive()  # type: ignore[return-value]  # of HTTP, since the scope is
            try:
                async with asyncio.timeout(BODY_S):
                    message = await receive()
            except TimeoutError:
                raise RequestTimeout(f"The body did not come within {BODY_S:g} seconds.") from None
            body_has_come = not message.get("more_body", False)
            return message  # type: ignore[return-value]

        async def answered(message: Message) -> None:
            self._unanswered.discard(task)
            await send(message)

        self._unanswered.add(task)
        try:
            if self._stopped:
                await _answer(send, ServerStopping())
            else:
                await self._app(scope, receive_in_time, answered)
        except asyncio.CancelledError:
            if not self._stopped or task not in self._unanswered:
                raise
            task.uncancel()
            await _answer(send, ServerStopping())
        finally:
            self._unanswered.discard(task)


async def _answer(send: Send, error: ProxyError) -> None:
    body = msgspec.json.encode(error_body(error))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(error.retry_after_s).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

"""Carrying an admitted request to its client: all at once or as a stream.

A client that goes away gives its places back at once, whatever its request was doing.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import anyio
import msgspec
from litestar import Request
from litestar.types import Message, Receive, Scope, Send
from sse_starlette.sse import EventSourceResponse

from proxy.chat.refusals import client_error
from proxy.chat.stream import DONE, frame, named_frame
from proxy.chat.turn import Turn
from proxy.engines.base import Finish, Token
from proxy.errors import ProxyError, ServerStopping
from proxy.routes import observe
from proxy.routes.errors import ClientGone, note
from proxy.services import services_of

PING_INTERVAL_S = 10
# For the farewell frame; shorter than the time a server waits for its connections when it shuts down.
SHUTDOWN_GRACE_S = 2

T = TypeVar("T")


def admit(request: Request[Any, Any, Any], model: str, places: int, field: str = "n") -> Turn:
    """A turn of this request, which is counted with it. Overloaded and InvalidRequest as in Turns.admit."""
    turn = services_of(request).turns.admit(model, places, field)
    observe.record_of(request.scope).turn = turn
    return turn


async def unless_gone(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or ClientGone, with `work` cancelled, as soon as the client closes the connection.

    The request's body must have been read: what is received after it can only be the end.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnect(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Sequence(Protocol):
    """What a stream tells, event by event."""

    def opening(self) -> Iterable[msgspec.Struct]: ...

    def feed(self, index: int, event: Token | Finish) -> Iterable[msgspec.Struct]: ...

    def closing(self) -> Iterable[msgspec.Struct]: ...

    def failing(self, error: ProxyError) -> Iterable[msgspec.Struct]: ...


class _Events(EventSourceResponse):
    """sse-starlette's, without the time limit of every message, which is not set and yet takes a fifth of what a token
    costs here. `serving.connections` ends what is not read."""

    async def _send_with_timeout(self, send: Send, message: Message) -> None:  # type: ignore[override]
        await send(message)


class StreamedAnswer:
    """The ASGI app that writes one stream. It owns the turn and closes it however the stream ends, also when the client
    is gone before the first byte. With `noted` the monitor remembers what was finished by then. `named`: frames name
    their event's type, and nothing follows the last one; otherwise [DONE] does."""

    def __init__(self, turn: Turn, sequence: Sequence, *, noted: bool = True, named: bool = False) -> None:
        self._turn = turn
        self._sequence = sequence
        self._noted = noted
        self._frame = named_frame if named else frame
        self._end = [] if named else [DONE]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = observe.record_of(scope)
        record.held = True
        shutdown = anyio.Event()
        farewell = asyncio.ensure_future(self._fail_at(shutdown))
        response = _Events(
            self._frames(Request(scope)),
            sep="\n",
            ping=PING_INTERVAL_S,
            shutdown_event=shutdown,
            shutdown_grace_period=SHUTDOWN_GRACE_S,
        )
        try:
            await response(scope, receive, send)  # type: ignore[arg-type]  # Starlette's names for the same ASGI types
        finally:
            farewell.cancel()
            self._turn.close()
            if self._noted:
                self._turn.note()
            record.facts["tokens"] = self._turn.tokens
            if not self._turn.finished:
                record.facts["ended"] = "failed" if record.failed else "early"
            observe.write(scope)

    async def _fail_at(self, shutdown: anyio.Event) -> None:
        await shutdown.wait()
        self._turn.fail(ServerStopping())

    async def _frames(self, request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
        try:
            for first in self._sequence.opening():
                yield self._frame(first)
            async for index, event in self._turn.events():
                for chunk in self._sequence.feed(index, event):
                    yield self._frame(chunk)
            for last in self._sequence.closing():
                yield self._frame(last)
        except Exception as error:
            # The status line is long sent; the only place left for an error is the stream itself.
            told = client_error(error)
            note(request, told)
            observe.record_of(request.scope).failed = True
            for last in self._sequence.failing(told):
                yield self._frame(last)
        for end in self._end:
            yield end

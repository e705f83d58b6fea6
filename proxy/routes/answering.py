"""Carrying an admitted request to its client: all at once or as a stream.

A client that goes away gives its places back at once, whatever its request was doing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio
from litestar import Request
from litestar.types import Receive, Scope, Send
from sse_starlette.sse import EventSourceResponse

from proxy.chat.refusals import client_error
from proxy.chat.scheduler import Admission
from proxy.chat.stream import DONE, ChunkSequence, GrowingChoice, error_frame, frame
from proxy.engines.base import Failure
from proxy.errors import EngineFailure
from proxy.routes import observe
from proxy.routes.errors import ClientGone

PING_INTERVAL_S = 15
# For the farewell frame; shorter than the time a server waits for its connections when it shuts down.
SHUTDOWN_GRACE_S = 2

T = TypeVar("T")


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


async def collect(admission: Admission, answers: Sequence[GrowingChoice]) -> None:
    """Run every answer to its end. Raises what made one of them fail."""
    async for index, event in admission.events():
        if isinstance(event, Failure):
            raise client_error(event.error)
        answers[index].feed(event)
        if answers[index].finish_reason is not None:
            admission.cancel(index)


class StreamedAnswer:
    """The ASGI app that writes one stream. It owns the admission and closes it however the stream ends, also when the
    client is gone before the first byte; `ended` is called then."""

    def __init__(
        self, admission: Admission, sequence: ChunkSequence, answers: Sequence[GrowingChoice], ended: Callable[[], None]
    ) -> None:
        self._admission = admission
        self._sequence = sequence
        self._answers = answers
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = observe.record_of(scope)
        record.held = True
        shutdown = anyio.Event()
        farewell = asyncio.ensure_future(self._fail_at(shutdown))
        response = EventSourceResponse(
            self._frames(),
            sep="\n",
            ping=PING_INTERVAL_S,
            shutdown_event=shutdown,
            shutdown_grace_period=SHUTDOWN_GRACE_S,
        )
        try:
            await response(scope, receive, send)  # type: ignore[arg-type]  # Starlette's names for the same ASGI types
        finally:
            farewell.cancel()
            self._admission.close()
            self._ended()
            record.facts["tokens"] = sum(answer.tokens for answer in self._answers)
            if any(answer.finish_reason is None for answer in self._answers):
                record.facts["ended"] = "early"
            observe.write(scope)

    async def _fail_at(self, shutdown: anyio.Event) -> None:
        await shutdown.wait()
        self._admission.fail(EngineFailure("The server is shutting down."))

    async def _frames(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._sequence.opening():
                yield frame(chunk)
            async for index, event in self._admission.events():
                if isinstance(event, Failure):
                    raise client_error(event.error)
                for chunk in self._sequence.feed(index, event):
                    yield frame(chunk)
                if self._answers[index].finish_reason is not None:
                    self._admission.cancel(index)
            for chunk in self._sequence.closing():
                yield frame(chunk)
        except Exception as error:
            # The status line is long sent; the only place left for an error is the stream itself.
            yield error_frame(client_error(error))
        yield DONE

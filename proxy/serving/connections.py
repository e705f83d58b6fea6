"""What uvicorn does not have: time limits, so that nobody keeps a connection by sending nothing, or next to nothing,
and streams that a client of HTTP/1.0 understands.

uvicorn itself ends connections that stay idle after an answer (`keep_alive_s` in the settings). The limits here end
those that never send a whole request or do not read their answer, and `serving.shutdown` those whose body does not
come.
"""

import asyncio
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEADERS_S = 20.0  # from a connection's opening, or a request's first byte, to the end of its headers

UNREAD_S = 60.0  # from when a client stops reading what is sent to it


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's connection, closed without a word when a request's headers take longer than `HEADERS_S`, or when what
    is sent has not been read for `UNREAD_S`."""

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait_for_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # A client may send its next request while it waits for an answer; that one is queued, and the answer goes on.
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_headers()

    def on_headers_complete(self) -> None:
        self._headers_came()
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope and self.scope["http_version"] == "1.0":
            self.cycle.send = unframed(self.cycle)  # type: ignore[assignment]  # of this one answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        self._was_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._was_read()
        # Not closed but aborted: closing would wait for the client to read the rest.
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._was_read()

    def _wait_for_headers(self) -> None:
        self._headers_came()
        self._deadline = self.loop.call_later(HEADERS_S, self._close)

    def _headers_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _was_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _close(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()


def unframed(cycle: RequestResponseCycle) -> Callable[[ASGISendEvent], Coroutine[Any, Any, None]]:
    """Its `send` for a client of HTTP/1.0, which knows no chunks: an answer of unknown length ends with the connection.
    uvicorn would write chunks."""
    send = cycle.send
    plain = False

    async def send_unframed(message: ASGISendEvent) -> None:
        nonlocal plain
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
            message["headers"] = headers
            plain = not any(name.lower() == b"content-length" for name, _ in headers)
            cycle.chunked_encoding = False if plain else None
        elif plain and message["type"] == "http.response.body":
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return send_unframed


def allow_many_files() -> None:
    """Raise this process's limit of open files, each connection being one, as far as the system lets it."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

"""Request bodies that are packed: gzip is unpacked on the way in, a piece at a time, and anything else refused.

The app's own limit of a body counts what comes out, so a small body that would become a huge one ends there.
"""

import asyncio
import zlib

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from proxy.errors import InvalidRequest, UnsupportedMediaType

PIECE = 2**18  # bytes that are unpacked at a time, between which others get their turn
_GZIP = 16 + zlib.MAX_WBITS


def unpacked(app: ASGIApp) -> ASGIApp:
    """`app`, which sees bodies as if they had not been packed. UnsupportedMediaType for other ways of packing than
    gzip, and InvalidRequest where a body is cut off or no gzip."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        packed = _encoding(scope) if scope["type"] == ScopeType.HTTP else ""
        if packed in ("", "identity"):
            await app(scope, receive, send)
            return
        if packed not in ("gzip", "x-gzip"):
            raise UnsupportedMediaType(f"Content-Encoding: {packed[:80]} can't be unpacked; possible: gzip, identity")
        told = (b"content-encoding", b"content-length")  # neither is true of what comes out
        headers = [(name, value) for name, value in scope["headers"] if name not in told]
        await app({**scope, "headers": headers}, _Unpacking(receive).receive, send)  # type: ignore[arg-type]

    return answer


def _encoding(scope: Scope) -> str:
    return dict(scope["headers"]).get(b"content-encoding", b"").decode("latin-1").strip().lower()


class _Unpacking:
    """One body, as it comes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._unpacker = zlib.decompressobj(_GZIP)
        self._may_hold_more = False  # of what was received
        self._received_all = False
        self._done = False

    async def receive(self) -> HTTPReceiveMessage:
        """The next piece; after the last, whatever else happens to the connection."""
        if self._done:
            return await self._receive()  # type: ignore[return-value]  # of HTTP, since the scope is
        if self._may_hold_more:
            await asyncio.sleep(0)
            piece = self._unpack(self._unpacker.unconsumed_tail)
        else:
            message = await self._receive()
            if message["type"] != "http.request":
                return message  # type: ignore[return-value]
            self._received_all = not message.get("more_body", False)
            piece = self._unpack(message.get("body", b""))
        self._done = self._received_all and not self._may_hold_more
        if self._done and not (self._unpacker.eof and not self._unpacker.unused_data):
            raise InvalidRequest("The body is not whole: its gzip ends too early, or more follows", code="invalid_body")
        return {"type": "http.request", "body": piece, "more_body": not self._done}

    def _unpack(self, data: bytes) -> bytes:
        try:
            piece = self._unpacker.decompress(data, PIECE)
        except zlib.error as error:
            raise InvalidRequest(f"The body is no gzip: {error}", code="invalid_body") from None
        self._may_hold_more = len(piece) == PIECE or bool(self._unpacker.unconsumed_tail)
        return piece

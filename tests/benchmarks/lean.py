"""An HTTP client that costs next to nothing, so that what is timed is the server: a request at a time per connection.

Knows just the HTTP that the measured servers answer with. Whether answers are what was asked for is seen once, before
the clock runs; meanwhile only that each is a 200 and was cut off at its limit.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.client import BenchmarkError, together

PATH = "/v1/chat/completions"


class Connection:
    """A connection that is kept open, by whoever uses it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "

    async def post(self, body: bytes) -> bytes:
        """The whole body of the answer. BenchmarkError for one that is not as it should be."""
        self._writer.write(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        answer = await self._body(head)
        if not head.startswith(b"http/1.1 200") or b'"length"' not in answer:
            raise BenchmarkError(f"not an answer that was cut off: {(head + answer)[-500:].decode(errors='replace')}")
        return answer

    async def _body(self, head: bytes) -> bytes:
        if b"\r\ntransfer-encoding: chunked" not in head:
            length = head.partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0]
            return await self._reader.readexactly(int(length))
        parts: list[bytes] = []
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readexactly(2)
        return b"".join(parts)

    def close(self) -> None:
        self._writer.close()


async def send(url: str, bodies: Sequence[dict[str, Any]], at_once: int) -> None:
    """Ask for all of them, so many at once, each as soon as a connection is free."""
    address = urlsplit(url)
    waiting = iter([json.dumps(body).encode() for body in bodies])

    async def work() -> None:
        connection = Connection(*await asyncio.open_connection(address.hostname, address.port), address.netloc)
        try:
            for body in waiting:
                await connection.post(body)
        finally:
            connection.close()

    try:
        await together([work() for _ in range(at_once)])
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise BenchmarkError(f"{type(error).__name__}: {error}") from error

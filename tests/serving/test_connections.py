"""Connections of a real server: closed where a request does not come, kept where it does."""

import asyncio
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from litestar.types import Receive, Scope, Send

from proxy.serving import connections
from proxy.serving.connections import TimedProtocol, allow_many_files
from tests.fakes import running


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(connections, "HEADERS_S", 0.2)
    with running(slow, http=TimedProtocol, lifespan="off") as url:
        yield "127.0.0.1", int(url.rpartition(":")[2])


def received(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection, or 5 seconds pass without."""
    client.settimeout(5)
    found = b""
    while piece := client.recv(9999):
        found += piece
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_connection_when_no_whole_request_comes_then_closed(sent: bytes, address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(sent)
        assert received(client) == b""


def test_connection_when_the_next_request_stays_half_then_closed_after_the_first_answer(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while not found.endswith(b"\r\n\r\nok"):
            found += client.recv(9999)
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert received(client) == b""


def test_connection_when_an_answer_takes_longer_than_headers_may_then_it_comes(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert received(client).endswith(b"ok")


def test_connection_when_the_answer_is_not_read_then_the_app_is_told_that_the_client_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 0.2)
    gone = threading.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        told = asyncio.ensure_future(receive())
        while not told.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        if told.result()["type"] == "http.disconnect":
            gone.set()

    with (
        running(endless, http=TimedProtocol, lifespan="off") as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert gone.wait(60)


def test_files_when_the_system_allows_more_then_the_limit_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 65536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("version", "length", "expected"),
    [
        (b"1.0", None, b"connection: close\r\n\r\none, two"),
        (b"1.0", b"8", b"content-length: 8\r\nconnection: close\r\n\r\none, two"),
        (b"1.1", None, b"transfer-encoding: chunked\r\n\r\n5\r\none, \r\n3\r\ntwo\r\n0\r\n\r\n"),
    ],
)
def test_stream_when_the_client_speaks_http_1_0_then_without_chunks(
    version: bytes, length: bytes | None, expected: bytes
) -> None:
    async def streamed(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"connection", b"keep-alive")] if length is None else [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two", "more_body": False})

    with running(streamed, http=TimedProtocol, lifespan="off") as url:
        client = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        client.sendall(b"GET / HTTP/%s\r\nHost: x\r\nConnection: close\r\n\r\n" % version)
        assert received(client).endswith(expected)
        client.close()

"""A model behind ours on real servers of ours, which are killed while they hold requests, and come back."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.engines.upstream.servers import asked, near
from tests.fakes import wait_until
from tests.hold.server import SERVE_FAKE, Forked
from tests.nursery import Nursery

pytestmark = pytest.mark.timeout(400)  # seconds where nothing else runs, minutes on a machine that is busy

PATIENCE_S = 120.0
N_ASKED = 6
Start = Callable[[int], Forked]


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Start]:
    """Starts servers of a fake model on given ports."""
    with contextlib.ExitStack() as ending:

        def start_(port: int) -> Forked:
            folder = tmp_path / str(port)
            folder.mkdir(exist_ok=True)
            server = Forked(nursery, folder, ["fake=a/b"], "--port", str(port), code=SERVE_FAKE)
            ending.callback(server.end, signal.SIGKILL)
            return server

        yield start_


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def ask(client: httpx.Client, number: int) -> httpx.Response:
    """Half of them as a stream."""
    messages = [{"role": "user", "content": f"What is the capital of France? {number}"}]
    return asked(client, messages=messages, max_tokens=8, temperature=0, stream=number % 2 == 0, timeout=None)


def test_requests_when_their_server_is_killed_and_restarted_then_none_that_had_not_begun_is_lost(
    start: Start, tmp_path: Path
) -> None:
    port = free_port()
    server = start(port)
    with (
        near(tmp_path, [url_of(port)], name="fake", wait_s=PATIENCE_S) as (client, registry),
        ThreadPoolExecutor(N_ASKED) as threads,
    ):
        client.timeout = httpx.Timeout(PATIENCE_S)
        assert ask(client, 1).json()["choices"][0]["message"]["content"]
        server.send_signal(signal.SIGSTOP)  # it takes connections, and no more
        answers = [threads.submit(ask, client, number) for number in range(N_ASKED)]
        wait_until(lambda: registry.upstreams("far")[0].running == N_ASKED)
        server.send_signal(signal.SIGKILL)
        wait_until(lambda: registry.upstreams("far")[0].state == "down")
        assert ask(client, 0).status_code == 503
        start(port)
        told = [answer.result(PATIENCE_S) for answer in answers]
    assert [response.status_code for response in told] == [200] * N_ASKED
    assert not [response for response in told if "upstream_failed" in response.text]


def test_requests_when_one_of_two_servers_is_killed_then_the_other_answers_its_own(
    start: Start, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    servers = [start(port) for port in ports]
    with (
        near(tmp_path, [url_of(port) for port in ports], name="fake", wait_s=PATIENCE_S) as (client, registry),
        ThreadPoolExecutor(N_ASKED) as threads,
    ):
        client.timeout = httpx.Timeout(PATIENCE_S)
        servers[0].send_signal(signal.SIGSTOP)
        answers = [threads.submit(ask, client, number) for number in range(N_ASKED)]
        wait_until(lambda: registry.upstreams("far")[0].running > 0)
        servers[0].send_signal(signal.SIGKILL)
        told = [answer.result(PATIENCE_S) for answer in answers]
        wait_until(lambda: [each.ended.get("ok", 0) for each in registry.upstreams("far")] == [0, N_ASKED])
    assert [response.status_code for response in told] == [200] * N_ASKED

"""The checks of `make hold` that are quick in a short form, on one real server with both engines.

Kills, shutdown and long traffic have tests of their own: test_real_server.py, test_server.py and serving.
"""

import signal
from collections.abc import Iterator

import pytest

from tests.hold.cancelling import storm
from tests.hold.figures import Figure, at_most, none_of, table
from tests.hold.malformed import malformed
from tests.hold.memory import bad_requests, huge_prompts
from tests.hold.server import MODELS, Forked, Server
from tests.nursery import Nursery

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
pytestmark = pytest.mark.timeout(600)  # with the start of the server and its models


@pytest.fixture(scope="module")
def server(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Forked(nursery, tmp_path_factory.mktemp("hold"), MODELS)
    yield server.until_ready()
    server.end(signal.SIGKILL)


def broken(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if not figure.kept]


def test_clients_when_a_storm_of_them_leaves_then_every_place_is_free(server: Server) -> None:
    assert broken(storm(server, clients=20, next_s=30)) == []


def test_requests_when_malformed_then_no_5xx_and_no_traceback(server: Server) -> None:
    assert broken(malformed(server, 200)) == []


def test_prompts_when_huge_then_refused_within_the_bound_of_memory(server: Server) -> None:
    assert broken(huge_prompts(server, at_once=4, rounds=1)) == []


def test_requests_when_heavy_to_refuse_then_within_the_bound_of_memory(server: Server) -> None:
    assert broken(bad_requests(server, 10)) == []


def test_a_table_then_shows_what_is_broken() -> None:
    shown = table([at_most("a", "b", 2, 1, " s"), none_of("c", "d", [])])
    assert "| a | b | 2 s | at most 1 s | BROKEN |" in shown and "| c | d | 0 | 0 | kept |" in shown

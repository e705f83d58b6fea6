"""The checks of `make hold` in their short form, on one real server with both engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hold.cancelling import storm
from tests.hold.figures import Figure, at_most, none_of, table
from tests.hold.kills import kills
from tests.hold.malformed import malformed
from tests.hold.memory import bad_requests, huge_prompts
from tests.hold.mixed import mixed
from tests.hold.server import Server, serving
from tests.hold.stopping import stopping

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("hold")) as server:
        yield server


def broken(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if not figure.kept]


def test_clients_when_a_storm_of_them_leaves_then_every_place_is_free(server: Server) -> None:
    assert broken(storm(server, clients=30, next_s=30)) == []


def test_requests_when_malformed_then_no_5xx_and_no_traceback(server: Server) -> None:
    assert broken(malformed(server, 300)) == []


def test_prompts_when_huge_then_refused_within_the_bound_of_memory(server: Server) -> None:
    assert broken(huge_prompts(server, at_once=6, rounds=1)) == []


def test_requests_when_heavy_to_refuse_then_within_the_bound_of_memory(server: Server) -> None:
    assert broken(bad_requests(server, 10)) == []


def test_traffic_when_mixed_then_no_5xx_and_threads_and_files_stay(server: Server) -> None:
    figures = mixed(server, 8)
    assert [figure for figure in broken(figures) if not figure.what.startswith("memory")] == []


def test_a_server_when_told_to_stop_amid_work_then_everybody_gets_an_end_and_it_is_gone(tmp_path: Path) -> None:
    figures = stopping(tmp_path, 1)
    assert [figure for figure in broken(figures) if not figure.what.startswith("seconds")] == []


def test_a_server_when_killed_while_it_writes_then_nothing_is_lost(tmp_path: Path) -> None:
    assert broken(kills(tmp_path, 1)) == []


def test_a_table_then_shows_what_is_broken() -> None:
    shown = table([at_most("a", "b", 2, 1, " s"), none_of("c", "d", [])])
    assert "| a | b | 2 s | at most 1 s | BROKEN |" in shown and "| c | d | 0 | 0 | kept |" in shown

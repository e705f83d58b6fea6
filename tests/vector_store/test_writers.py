"""Processes that write into one folder at once, or are killed at it, leave nothing half."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vector_store.vectors import make_vector
from vector_store import VectorStore
from vector_store.files import decode


def run_writers(*arguments: str) -> list[tuple[int, str]]:
    """Number and id of every vector that was said to be saved."""
    command = [sys.executable, str(Path(__file__).with_name("writers.py")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [(int(number), id_) for number, id_ in map(str.split, done.stdout.splitlines())]


def test_writers_when_killed_hundreds_of_times_then_what_was_saved_is_whole_and_nothing_else_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    committed = run_writers("kill", str(tmp_path), "200")
    assert len(committed) > 60
    store = VectorStore([tmp_path])
    found = {header.id: header.method for header in store.list()}
    for number, id_ in committed:
        assert found[id_] == f"number {number}"
    for path in tmp_path.rglob("*.safetensors"):
        decode(path.read_bytes(), path.name)
    assert not caplog.records
    assert any(tmp_path.rglob(".*.tmp"))  # some were killed in the midst of writing


def test_eight_processes_when_writing_and_reading_at_once_then_none_loses_and_one_wins_each_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wins = run_writers("crowd", str(tmp_path))
    store = VectorStore([tmp_path])
    assert len(store.list()) == 8 * 6 + 6
    assert sorted(id_ for _, id_ in wins) == [f"shared-{number}" for number in range(6)]
    for number, id_ in wins:
        assert store.get(id_).method == f"number {number - number % 3}"
    assert not caplog.records and not list(tmp_path.rglob(".*"))


def test_prepare_when_writers_were_killed_long_ago_then_their_leavings_go(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    store.save(make_vector())
    folder = tmp_path / "org--model" / "silly"
    old, new = folder / ".x.safetensors.1.tmp", folder / ".x.safetensors.2.tmp"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    store.prepare()
    assert not old.exists() and new.exists() and len(store.list()) == 1

"""A real server on a demo model: killed in the middle of an extraction, the next one makes the same vector."""

import dataclasses
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.fakes import wait_until
from tests.hold.server import ENVIRON, SERVE, Forked
from tests.nursery import Nursery
from vector_store import CONDITIONS, SPANS, VectorHeader, VectorStore

pytestmark = pytest.mark.timeout(400)  # seconds where nothing else runs, minutes on a machine that is busy

PATIENCE_S = 120
REQUEST = {"model": "demo-qwen2", "trait": "silly", "rollouts": 1, "questions": 2, "seed": 5}


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Callable[[], Forked]]:
    """Starts servers on the same folders, each after the one before."""
    started: list[Forked] = []

    def start_() -> Forked:
        started.append(Forked(nursery, tmp_path, ["demo-qwen2"], max_batch=64))
        return started[-1]

    yield start_
    for server in started:
        server.end(signal.SIGKILL)


def test_extraction_when_the_server_is_killed_then_the_next_one_makes_the_same_vector(
    start: Callable[[], Forked], tmp_path: Path
) -> None:
    parts = tmp_path / "jobs" / "parts"
    server = start()
    job_id = server.client.post("/api/vectors/generate", json=REQUEST).json()["id"]
    wait_until(lambda: len(list(parts.glob("*/[!.]*"))) >= 7, PATIENCE_S)
    assert server.client.get(f"/api/jobs/{job_id}").json()["status"] == "running"
    assert server.end(signal.SIGKILL) == -signal.SIGKILL

    server = start()
    assert server.client.get(f"/api/jobs/{job_id}").json()["status"] in ("queued", "running")
    with server.client.stream("GET", f"/api/jobs/{job_id}/events") as stream:
        last = [line for line in stream.iter_lines() if line.startswith("data: ")][-1]
    broken_id = json.loads(last.removeprefix("data: "))["result"]["vector"]
    wait_until(lambda: list(parts.iterdir()) == [])

    # Nothing is left of it, so the same request makes the same vector from beginning to end.
    whole_id = server.client.post("/api/vectors/generate", json={**REQUEST, "wait": True}).json()["id"]
    store = VectorStore([tmp_path / "vectors"])
    assert {header.id for header in store.list()} == {broken_id, whole_id} and broken_id != whole_id
    broken, whole = store.get(broken_id), store.get(whole_id)
    for field in dataclasses.fields(VectorHeader):
        if field.name not in ("created", "id"):
            assert getattr(broken, field.name) == getattr(whole, field.name), field.name
    for span in SPANS:
        np.testing.assert_array_equal(broken.residual_norms[span], whole.residual_norms[span])
        for condition in CONDITIONS:
            np.testing.assert_array_equal(broken.means[span][condition], whole.means[span][condition])


def test_wait_when_the_server_is_told_to_stop_then_503_at_once_and_the_job_is_named(
    start: Callable[[], Forked],
) -> None:
    server, answers = start(), list[httpx.Response]()
    ask = threading.Thread(
        target=lambda: answers.append(server.client.post("/api/vectors/generate", json={**REQUEST, "wait": True}))
    )
    ask.start()
    wait_until(lambda: httpx.get(f"{server.url}/api/jobs").json()["data"] != [], PATIENCE_S)
    (job,) = httpx.get(f"{server.url}/api/jobs").json()["data"]
    events: list[str] = []
    with httpx.stream("GET", f"{server.url}/api/jobs/{job['id']}/events", timeout=PATIENCE_S) as stream:
        server.send_signal(signal.SIGTERM)
        events += [line for line in stream.iter_lines() if line.startswith("data: ")]
    ask.join(PATIENCE_S)
    assert server.end(signal.SIGTERM) == 0
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "jobs_unavailable")
    assert job["id"] in answers[0].json()["error"]["message"]
    assert '"status":"queued"' in events[-1]


def test_serve_when_the_model_folder_holds_no_usable_model_then_it_ends_in_one_line(
    nursery: Nursery, tmp_path: Path
) -> None:
    log, folder = tmp_path / "log", tmp_path / "empty"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    code, output = nursery.start(SERVE, "--model", str(folder), environ=ENVIRON, log=log).end()
    errors = log.read_text()
    assert code == 2
    assert errors.startswith("persona-proxy: no model could be loaded; empty: ")
    assert errors.count("\n") == 1 and "Traceback" not in output

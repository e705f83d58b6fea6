"""A real server on a demo model: killed in the middle of an extraction, the next one makes the same vector."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.fakes import wait_until
from tests.hold.server import SERVE
from vector_store import CONDITIONS, SPANS, VectorHeader, VectorStore

pytestmark = pytest.mark.timeout(400)  # seconds where nothing else runs, minutes on a machine that is busy

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120
REQUEST = {"model": "demo-qwen2", "trait": "silly", "rollouts": 1, "questions": 2, "seed": 5}


class Server:
    """`persona-proxy serve` in a process of its own, on the folders below `folder`."""

    def __init__(self, folder: Path) -> None:
        folders = {f"PERSONA_PROXY_{name.upper()}_DIR": str(folder / name) for name in ("vectors", "traits", "jobs")}
        environ = os.environ | folders | {"OMP_NUM_THREADS": "1"}
        self.popen = subprocess.Popen(
            [sys.executable, "-c", SERVE, "--model", "demo-qwen2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a line for each request: a pipe nobody reads would fill up
            text=True,
            env=environ,
            cwd=ROOT,
        )
        assert self.popen.stdout is not None
        output = ""
        for line in self.popen.stdout:
            output += line
            if "curl" in line:
                break
        found = re.search(r"http://\S+:\d+", output)
        assert found, self.popen.communicate()
        self.client = httpx.Client(base_url=found[0], timeout=PATIENCE_S)

    def job(self, job_id: str) -> dict[str, Any]:
        details: dict[str, Any] = self.client.get(f"/api/jobs/{job_id}").json()
        return details

    def end(self, number: int) -> int:
        self.client.close()
        self.popen.send_signal(number)
        self.popen.communicate(timeout=PATIENCE_S)
        return self.popen.returncode


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        if server.popen.poll() is None:
            server.end(signal.SIGKILL)


def test_extraction_when_the_server_is_killed_then_the_next_one_makes_the_same_vector(
    servers: list[Server], tmp_path: Path
) -> None:
    parts = tmp_path / "jobs" / "parts"
    servers.append(Server(tmp_path))
    job_id = servers[0].client.post("/api/vectors/generate", json=REQUEST).json()["id"]
    wait_until(lambda: len(list(parts.glob("*/[!.]*"))) >= 7, PATIENCE_S)
    assert servers[0].job(job_id)["status"] == "running"
    assert servers[0].end(signal.SIGKILL) == -signal.SIGKILL

    servers.append(Server(tmp_path))
    assert servers[1].job(job_id)["status"] in ("queued", "running")
    with servers[1].client.stream("GET", f"/api/jobs/{job_id}/events") as stream:
        last = [line for line in stream.iter_lines() if line.startswith("data: ")][-1]
    broken_id = json.loads(last.removeprefix("data: "))["result"]["vector"]
    wait_until(lambda: list(parts.iterdir()) == [])

    # Nothing is left of it, so the same request makes the same vector from beginning to end.
    whole_id = servers[1].client.post("/api/vectors/generate", json={**REQUEST, "wait": True}).json()["id"]
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
    servers: list[Server], tmp_path: Path
) -> None:
    servers.append(Server(tmp_path))
    server, answers = servers[0], list[httpx.Response]()
    ask = threading.Thread(
        target=lambda: answers.append(server.client.post("/api/vectors/generate", json={**REQUEST, "wait": True}))
    )
    ask.start()
    wait_until(lambda: httpx.get(f"{server.client.base_url}/api/jobs").json()["data"] != [], PATIENCE_S)
    (job,) = httpx.get(f"{server.client.base_url}/api/jobs").json()["data"]
    events: list[str] = []
    with httpx.stream("GET", f"{server.client.base_url}/api/jobs/{job['id']}/events", timeout=PATIENCE_S) as stream:
        server.popen.send_signal(signal.SIGTERM)
        events += [line for line in stream.iter_lines() if line.startswith("data: ")]
    ask.join(PATIENCE_S)
    assert server.end(signal.SIGTERM) == 0
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "jobs_unavailable")
    assert job["id"] in answers[0].json()["error"]["message"]
    assert '"status":"queued"' in events[-1]

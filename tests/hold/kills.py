"""A server that has jobs and writes vectors, killed at random moments: nothing is lost, nothing half-written."""

import contextlib
import json
import logging
import signal
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx

from tests.hold.figures import Figure, none_of
from tests.hold.server import ENVIRON, IMPORTS, Forked, tracebacks
from tests.nursery import Nursery
from tests.vector_store.vectors import make_vector
from vector_store import VectorStore
from vector_store.files import encode

CHECK = "kills"
MAX_TRAITS = 50
MAX_JOBS = 8
ENDED = ("done", "failed", "cancelled")
LAST_S = 600.0  # for what is left of the jobs, after the last start
MODEL = "demo-qwen2"
JOB = {"model": MODEL, "trait": "silly", "rollouts": 1, "questions": 2}


class Acknowledged:
    """What the server said yes to: jobs by their ids, and vectors and traits that it said it keeps."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.vectors: list[str] = []
        self.traits: list[str] = []
        self.refused: list[str] = []

    def write(self, url: str, rng: Random) -> None:
        """Ask for things until the server is gone."""
        with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while True:
                number = rng.randrange(10**9)
                if len(self.jobs) < MAX_JOBS and rng.random() < 0.1:
                    job = client.post("/api/vectors/generate", json={**JOB, "seed": number})
                    self._note(self.jobs, job, "id")
                content = encode(make_vector("org/killed", "silly", seed=number, id=f"killed-{number}"))
                self._note(self.vectors, client.post("/api/vectors/import", files={"file": content}), "id")
                if len(self.traits) < MAX_TRAITS:
                    self._note(self.traits, client.post("/api/traits", json=_trait(client, number)), "id")
                time.sleep(0.02)

    def _note(self, known: list[str], response: httpx.Response, field: str) -> None:
        if response.status_code in (200, 201, 202):
            known.append(str(response.json()[field]))
        else:
            self.refused.append(f"{response.status_code} {response.text}")


def _trait(client: httpx.Client, number: int) -> dict[str, Any]:
    known: dict[str, Any] = client.get("/api/traits/silly").json()
    fields = ("description", "instructions", "questions", "rubric")
    return {
        **{name: known[name] for name in fields},
        "positive": f"high-{number}",
        "negative": f"low-{number}",
        "id": f"trait-{number}",
    }


def kills(folder: Path, count: int) -> list[Figure]:
    """Kill `count` servers in a row on the same folders, then let a last one end all jobs."""
    rng, known = Random(3), Acknowledged()
    nursery = Nursery(*IMPORTS, environ=ENVIRON)
    lost: list[str] = []
    for _ in range(count):
        server = Forked(nursery, folder, [MODEL])
        lost += _missing(server, known)
        writer = threading.Thread(target=known.write, args=(server.url, Random(rng.random())))
        writer.start()
        time.sleep(rng.uniform(0.2, 4))
        server.end(signal.SIGKILL)
        writer.join()
    server = Forked(nursery, folder, [MODEL])
    lost += _missing(server, known)
    unended = _unended(server, known)
    failed = [job for job in known.jobs if not _ended_well(server.client.get(f"/api/jobs/{job}").json())]
    server.end(signal.SIGTERM)
    nursery.close()
    what = f"of {len(known.jobs)} jobs, {len(known.vectors)} vectors, {len(known.traits)} traits, {count} kills"
    return [
        none_of(CHECK, f"lost {what}", lost),
        none_of(CHECK, "writes that were refused", known.refused),
        none_of(CHECK, "files that can't be read", _damaged(folder)),
        none_of(CHECK, f"jobs not ended within {LAST_S:g} s of the last start", unended),
        none_of(CHECK, "jobs that came to nothing by being cut off", failed),
        none_of(CHECK, "tracebacks in the log", tracebacks(server.log)),
    ]


def _missing(server: Forked, known: Acknowledged) -> list[str]:
    """What a new server does not know of all that was acknowledged."""
    vectors = {each["id"] for each in server.client.get("/api/vectors").json()["data"]}
    traits = {each["id"] for each in server.client.get("/api/traits").json()["data"]}
    jobs = [job for job in known.jobs if server.client.get(f"/api/jobs/{job}").status_code != 200]
    return [*jobs, *sorted({*known.vectors} - vectors), *sorted({*known.traits} - traits)]


def _ended_well(job: dict[str, Any]) -> bool:
    """Whether it is done. A toy may also show too little of a trait in so few answers, cut off or not."""
    return job["status"] == "done" or "too little to make a vector" in json.dumps(job)


def _unended(server: Forked, known: Acknowledged) -> list[str]:
    deadline = time.monotonic() + LAST_S
    left = list(known.jobs)
    while left and time.monotonic() < deadline:
        left = [job for job in left if server.client.get(f"/api/jobs/{job}").json()["status"] not in ENDED]
        time.sleep(1)
    return left


def _damaged(folder: Path) -> list[str]:
    """Vectors that a store skips, and files that should not be left."""
    skipped: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: skipped.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("vector_store").addHandler(handler)
    try:
        for header in VectorStore([folder / "vectors"]).list():
            VectorStore([folder / "vectors"]).get(header.id)
    finally:
        logging.getLogger("vector_store").removeHandler(handler)
    parts = [str(path) for path in (folder / "jobs").rglob("parts/*/*") if path.suffix == ".json" and not _whole(path)]
    return skipped + parts


def _whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True

"""Two real servers of a demo model on one vector store: what one of them makes or deletes, the other knows at once."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hold.server import Forked
from tests.nursery import Nursery

pytestmark = pytest.mark.timeout(600)  # seconds where nothing else runs, minutes on a machine that is busy

MODEL = "demo-qwen2"


@pytest.fixture
def two(nursery: Nursery, tmp_path: Path) -> Iterator[list[Forked]]:
    servers: list[Forked] = []
    shared = tmp_path / "vectors"
    shared.mkdir()
    try:
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "vectors").symlink_to(shared, target_is_directory=True)
            servers.append(Forked(nursery, folder, [MODEL], max_batch=64))
        yield servers
    finally:
        for server in servers:
            server.end(signal.SIGKILL)


def steered(server: Forked) -> tuple[str, str]:
    """What it says in character, and the id of the vector that it was steered by."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "How do you spend your Sundays?"}],
        "temperature": 0,
        "max_tokens": 24,
        "persona": "silly",
    }
    answer = server.client.post("/v1/chat/completions", json=body).raise_for_status().json()
    [vector] = answer["steering"]["vectors"]
    return str(answer["choices"][0]["message"]["content"]), str(vector["id"])


def test_two_servers_when_one_makes_uses_or_deletes_a_vector_then_the_other_steers_by_what_there_is(
    two: list[Forked],
) -> None:
    one, other = two
    before = steered(one)
    assert steered(other) == before
    asked = {"model": MODEL, "trait": "silly", "rollouts": 1, "questions": 2, "seed": 5, "wait": True}
    made = str(one.client.post("/api/vectors/generate", json=asked).raise_for_status().json()["id"])
    assert made != before[1] and steered(other) == before  # it is rougher, so that nobody uses it yet
    other.client.post(f"/api/vectors/{MODEL}/silly/{made}/use").raise_for_status()
    after = steered(one)
    assert after[1] == made and steered(other) == after
    one.client.delete(f"/api/vectors/{MODEL}/silly/{made}").raise_for_status()
    assert steered(one) == steered(other) == before

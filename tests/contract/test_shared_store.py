"""Two servers over one vectors_dir: what one gets or deletes, the other has or has not at its next request."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.fakes import FakeEngine, save_vector, serving, settings_in
from vector_store import VectorStore
from vector_store.files import encode


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Each server has folders of its own but for its vectors."""
    shared = str(tmp_path / "vectors")
    first, second = (
        msgspec.structs.replace(settings_in(tmp_path / name), vectors_dir=shared) for name in ("first", "second")
    )
    with (
        serving(first, FakeEngine()) as one,
        serving(second, FakeEngine()) as other,
        httpx.Client(base_url=one, timeout=60) as client,
        httpx.Client(base_url=other, timeout=60) as beside,
    ):
        yield client, beside


def say(client: httpx.Client) -> httpx.Response:
    body = {"persona": "silly", "messages": [{"role": "user", "content": "hello"}]}
    return client.post("/v1/chat/completions", json=body)


def test_vectors_when_one_server_gets_or_deletes_one_then_the_other_uses_it_or_not(
    clients: tuple[httpx.Client, httpx.Client], tmp_path: Path
) -> None:
    client, beside = clients
    made = VectorStore([tmp_path / "made"]).get(save_vector(tmp_path / "made", "silly", "silly", "serious"))
    assert [say(each).status_code for each in clients] == [400, 400]

    assert client.post("/api/vectors/import", content=encode(made)).is_success
    for each in clients:
        assert say(each).json()["choices"][0]["message"]["content"] == "[+1.00] You said: hello "
        assert say(each).json()["steering"]["vectors"] == [{"id": made.id, "origin": "native"}]
    assert "fake:silly" in beside.get("/v1/models").text

    assert beside.delete(f"/api/vectors/fake/silly/{made.id}").is_success
    assert [say(each).status_code for each in clients] == [400, 400]

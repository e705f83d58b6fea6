"""Servers with two models and the vectors of one, and what is asked of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving
from vector_store import PersonaVector, VectorStore

HUB = "owner/fake"  # a model with a hub's name


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """Serves two models, the first of which has a vector."""
    save_vector(Path(settings.vectors_dir), "silly", "silly", "serious")
    limited = msgspec.structs.replace(settings, max_upload_bytes=20_000)
    with serving(limited, FakeEngine(), FakeEngine(HUB)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def store(settings: Settings) -> VectorStore:
    return VectorStore([settings.vectors_dir])


@pytest.fixture
def vector(client: httpx.Client, store: VectorStore) -> PersonaVector:
    latest = store.in_use("fake", "silly")
    assert latest is not None
    return latest


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, PersonaVector]]:
    """One server for all the tests that change nothing, and the vector it has."""
    folder = tmp_path_factory.mktemp("reader")
    id_ = save_vector(folder / "vectors", "silly", "silly", "serious")
    settings = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    with serving(settings, FakeEngine(), FakeEngine(HUB)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client, VectorStore([folder / "vectors"]).get(id_)


def upload(client: httpx.Client, content: bytes, **fields: str) -> httpx.Response:
    return client.post("/api/vectors/import", content=content, params=fields)


def chat(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": HUB, "persona": "silly", "messages": [{"role": "user", "content": "hello"}], **fields}
    return client.post("/v1/chat/completions", json=body)

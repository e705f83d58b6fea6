"""A server with a fake model that has a vector for silly/serious and none for the other traits, and a client for it."""

from collections.abc import Iterator

import httpx
import pytest

from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("server")
    save_vector(folder / "vectors", "silly", "silly", "serious")
    settings = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    with serving(settings, engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client

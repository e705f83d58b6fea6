"""A real server that the clients' own code talks to, and OpenAI's JavaScript SDK."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.settings import Settings
from tests.clients import node
from tests.fakes import FakeEngine, save_vector, serving


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    settings = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    engines = [FakeEngine("fake"), FakeEngine("demo-qwen2"), FakeEngine("smollm2-135m-instruct")]
    for engine in engines:
        save_vector(settings.vectors_dir, "silly", "silly", "serious", model=engine.info.id, responses=True)
    with serving(settings, *engines) as url:
        yield url


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder that holds the SDK."""
    return node.install()

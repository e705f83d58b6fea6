"""Fixtures every test may use: one asynchronous backend, no network, none of the developer's settings.

The demo world is known to steering, as it is in the server and on the command line.
"""

import gc
import os
from pathlib import Path

import pytest

from proxy import demo
from proxy.settings import ENVIRONMENT_PREFIX, Settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is first imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for models this small a second thread costs more than it brings

demo.register()


def pytest_collection_finish() -> None:
    """Keep what the imports made out of garbage collection, of which every engine that closes does a whole one."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Default settings whose folders are empty ones of this test."""
    return Settings(
        vectors_dir=str(tmp_path / "vectors"),
        traits_dir=tmp_path / "traits",
        jobs_dir=tmp_path / "jobs",
        transfers_dir=tmp_path / "transfers",
    )

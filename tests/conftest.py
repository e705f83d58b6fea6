"""Fixtures every test may use: one asynchronous backend, no network, none of the developer's settings.

The demo world is known to steering, as it is in the server and on the command line.
"""

import os
from pathlib import Path

import pytest

from proxy import demo
from proxy.settings import ENVIRONMENT_PREFIX, Settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is first imported
demo.register()


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

"""A folder and a URL, for what holds of both."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from vector_store import remote


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path)
        return
    monkeypatch.setattr(remote, "FRESH_S", 0.0)
    yield "memory://bucket/vectors"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)

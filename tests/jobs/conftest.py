"""The queue of a server, on a kind of job that goes on until it is told."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.engines.registry import Registry
from proxy.jobs.queue import JobQueue
from proxy.jobs.store import JobStore
from tests.fakes import FakeEngine, fake_registry
from tests.jobs.working import Work


@pytest.fixture(autouse=True)
def _told_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.jobs.queue.TOLD_EVERY_S", 0.01)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = fake_registry(FakeEngine("fake"), FakeEngine("other"))
    yield made
    made.close()


@pytest.fixture
def serving(tmp_path: Path, registry: Registry, work: Work) -> Callable[..., Any]:
    """A server's queue, from its start to its stop."""

    @asynccontextmanager
    async def serve(models: Registry = registry) -> AsyncIterator[JobQueue]:
        queue = JobQueue(JobStore(tmp_path), models, [work.kind])
        await queue.start()
        try:
            yield queue
        finally:
            await queue.stop()

    return serve

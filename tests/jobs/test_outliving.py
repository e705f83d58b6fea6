"""Jobs outlive the server that was stopped or killed, and the file that they can not be kept in."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import Registry
from proxy.errors import JobsUnavailable, NotFound
from proxy.jobs import store
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.queue import JobQueue
from proxy.jobs.store import Job, JobStore
from tests.fakes import FakeEngine, fake_registry
from tests.jobs.working import Size, Work, begun, ended, until

pytestmark = pytest.mark.anyio


async def test_stop_when_a_job_runs_then_it_is_interrupted_and_the_next_server_goes_on_with_it(
    serving: Callable[..., Any], work: Work
) -> None:
    async with serving() as queue:
        job, following = [await queue.submit("work", "fake", Size(size)) for size in (1, 2)]
        await until(queue, job, begun)
        told = asyncio.create_task(_last(queue, job))
        await asyncio.sleep(0)
    assert (await told).status == "queued"  # whoever watched is told, and waits no longer
    async with serving() as queue:
        assert [seen.status for seen in (await queue.find())[0]] == ["queued", "running"]
        again = await until(queue, job, begun)
        assert again.id == job.id and again.parameters == job.parameters
        work.go.set()
        assert (await ended(queue, following)).status == "done"
    assert [size for _, size in work.began] == [1, 1, 2]


async def _last(queue: JobQueue, job: Job) -> Job:
    seen = [one async for one in queue.watch(job.id)]
    return seen[-1]


async def test_stop_when_a_job_does_not_heed_then_the_server_stops_all_the_same(
    serving: Callable[..., Any], work: Work, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.jobs.queue.STOP_S", 0.1)
    let_go = threading.Event()

    def run(engine: Engine, parameters: Size, task: Task) -> Done:
        let_go.wait(60)
        return Done({}, lambda: None)

    queue = JobQueue(JobStore(tmp_path), registry, [Kind("work", Size, run)])
    job = await queue.submit("work", "fake", Size())
    await until(queue, job, lambda seen: seen.status == "running")
    await queue.stop()
    assert not let_go.is_set()
    let_go.set()
    async with serving() as later:
        await until(later, job, begun)


async def test_stop_when_a_job_is_done_before_it_heeds_then_it_is_done(registry: Registry, tmp_path: Path) -> None:
    let_go = threading.Event()

    def run(engine: Engine, parameters: Size, task: Task) -> Done:
        assert let_go.wait(60)
        return Done({"size": 1}, lambda: None)

    queue = JobQueue(JobStore(tmp_path), registry, [Kind("work", Size, run)])
    job = await queue.submit("work", "fake", Size())
    await until(queue, job, lambda seen: seen.status == "running")
    queue.interrupt()
    let_go.set()
    await queue.stop()
    kept = JobStore(tmp_path)
    kept.open()
    assert kept.get(job.id).status == "done"
    kept.close()


async def test_start_when_the_last_server_was_killed_then_its_jobs_go_on(
    serving: Callable[..., Any], work: Work, tmp_path: Path
) -> None:
    killed = JobStore(tmp_path)
    killed.open()
    for number, status in enumerate(("queued", "queued")):
        killed.add(
            Job(id=f"job-{number}", kind="work", model="fake", parameters='{"size":1}', status=status, created=1.0)  # type: ignore[arg-type]
        )
    killed.begin("job-0", 2.0)
    killed.close()
    work.go.set()
    async with serving() as queue:
        for job_id in ("job-0", "job-1"):
            assert (await ended(queue, await queue.get(job_id))).status == "done"


async def test_start_when_servers_ended_while_a_job_ran_then_it_rests_while_others_run(
    serving: Callable[..., Any], work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "RESTS_S", (1.0, 9.0, 9.0))
    killed = JobStore(tmp_path)
    killed.open()
    for number in range(2):
        killed.add(
            Job(id=f"job-{number}", kind="work", model="fake", parameters='{"size":1}', status="queued", created=1.0)
        )
    for _ in range(store.MAX_STARTS_AT_ONCE):
        killed.begin("job-0", 2.0)
    killed.close()
    work.go.set()
    async with serving() as queue:
        assert (await ended(queue, await queue.get("job-1"))).status == "done"
        resting = await queue.get("job-0")
        assert resting.status == "queued" and resting.doing.startswith("waiting 1 s, since several servers ended")
        assert (await ended(queue, resting)).status == "done"


async def test_start_when_a_job_is_of_a_model_that_is_not_served_then_it_waits_for_a_server_that_has_it(
    serving: Callable[..., Any], work: Work
) -> None:
    async with serving() as queue:
        job = await queue.submit("work", "fake", Size())
        await until(queue, job, begun)
    others = fake_registry(FakeEngine("other"))
    async with serving(others) as queue:
        await asyncio.sleep(0.1)
        assert (await queue.get(job.id)).status == "queued"
        await queue.cancel(job.id)
        assert (await queue.get(job.id)).status == "cancelled"
    others.close()


async def test_start_when_there_never_was_a_job_then_no_file_is_made(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    async with serving() as queue:
        assert await queue.find() == ([], False)
        with pytest.raises(NotFound):
            await queue.get("job-1")
        with pytest.raises(NotFound):
            await queue.cancel("job-1")
    assert list(tmp_path.iterdir()) == []


async def test_submit_when_the_server_stops_then_it_is_refused(serving: Callable[..., Any]) -> None:
    async with serving() as queue:
        queue.interrupt()
        with pytest.raises(JobsUnavailable, match="shutting down"):
            await queue.submit("work", "fake", Size())


async def test_start_when_another_server_has_the_jobs_then_this_one_serves_and_says_so(
    serving: Callable[..., Any], registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = JobStore(tmp_path)
    first.open()
    async with serving() as queue:
        (record,) = caplog.records
        assert "Another server runs the jobs" in record.getMessage()
        with pytest.raises(JobsUnavailable, match="Another server"):
            await queue.submit("work", "fake", Size())
        first.close()
        assert (await queue.submit("work", "fake", Size())).status == "queued"


async def test_end_when_it_can_not_be_kept_then_it_is_told_at_once_and_kept_as_soon_as_that_works(
    serving: Callable[..., Any], work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("proxy.jobs.queue.RETRY_S", 0.01)
    write = JobStore._write
    full = True

    def until_there_is_room(self: JobStore, statement: str, values: Any = ()) -> None:
        if full and not statement.startswith("INSERT"):
            raise JobsUnavailable("disk is full")
        write(self, statement, values)

    async with serving() as queue:
        job = await queue.submit("work", "fake", Size(7))
        await until(queue, job, begun)
        monkeypatch.setattr(JobStore, "_write", until_there_is_room)
        work.go.set()
        assert (await ended(queue, job)).status == "done"
        assert (await queue.get(job.id)).status == (await queue.cancel(job.id)).status == "done"
        assert [seen.status async for seen in queue.watch(job.id)] == ["done"]
        full = False
        async with asyncio.timeout(5):
            while job.id in queue._live:
                await asyncio.sleep(0.01)
        assert (await queue.get(job.id)).status == "done"
    kept = JobStore(tmp_path)
    kept.open()
    assert kept.get(job.id).status == "done"
    kept.close()


async def test_cancel_when_it_can_not_be_kept_then_it_counts_all_the_same(
    serving: Callable[..., Any], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as queue:
        job = await queue.submit("work", "fake", Size(7))
        await until(queue, job, begun)
        with monkeypatch.context() as patch:
            patch.setattr(JobStore, "end", lambda self, job: (_ for _ in ()).throw(JobsUnavailable("disk is full")))
            assert (await queue.cancel(job.id)).status == "cancelled"
            assert (await queue.get(job.id)).status == "cancelled"

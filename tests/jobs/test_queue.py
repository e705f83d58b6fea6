"""Jobs run one at a time for each model, are cancelled at once, and outlive the server that was stopped or killed."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import Registry
from proxy.errors import EngineFailure, JobsUnavailable, NotFound, Overloaded, SetupError
from proxy.jobs import store
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.queue import JobQueue
from proxy.jobs.store import Job, JobStore
from proxy.jobs.task import JobTask
from proxy.settings import ModelSettings
from tests.fakes import FakeEngine, fake_registry

pytestmark = pytest.mark.anyio


class Size(msgspec.Struct, frozen=True):
    size: int = 1


class Work:
    """A kind whose jobs go on in steps of a few ms until `go` is set, and remember who ran on which model."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.error: Exception | None = None
        self.began: list[tuple[str, int]] = []
        self.running: dict[str, int] = {}
        self.most_at_once = 0
        self.stopped_s = 0.0
        self.tidied: list[int] = []
        self.kind = Kind("work", Size, self.run)

    def run(self, engine: Engine, parameters: Size, task: Task) -> Done:
        model = engine.info.id
        self.began.append((model, parameters.size))
        self.running[model] = self.running.get(model, 0) + 1
        self.most_at_once = max(self.most_at_once, self.running[model])
        try:
            for step in range(10_000):
                if self.go.wait(0.005):
                    break
                assert isinstance(task, JobTask)
                task.check()
                task.report(f"step {step}", step / 10_000, 5.0)
        finally:
            self.running[model] -= 1
            self.stopped_s = time.monotonic()
        if self.error:
            raise self.error
        return Done({"size": parameters.size}, lambda: self.tidied.append(parameters.size))


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


async def until(queue: JobQueue, job: Job, condition: Callable[[Job], bool]) -> Job:
    """The job as soon as it is as wanted."""
    async with asyncio.timeout(5):
        async for seen in queue.watch(job.id):
            if condition(seen):
                return seen
    raise AssertionError(f"it ended as {seen}")


async def ended(queue: JobQueue, job: Job) -> Job:
    return await until(queue, job, lambda seen: seen.ended is not None)


def begun(seen: Job) -> bool:
    return seen.doing.startswith("step")


async def test_submit_then_it_runs_tells_of_its_progress_and_what_it_made(
    serving: Callable[..., Any], work: Work
) -> None:
    async with serving() as queue:
        job = await queue.submit("work", "fake", Size(7))
        assert job.status == "queued" and job.id.startswith("job-")
        running = await until(queue, job, begun)
        assert running.status == "running" and running.started and running.left_s == 5.0
        work.go.set()
        done = await ended(queue, job)
        assert (done.status, done.result, done.fraction, done.left_s) == ("done", {"size": 7}, 1.0, None)
        assert await queue.get(job.id) == done and await queue.find() == ([done], False)
    assert work.tidied == [7]


async def test_submit_when_the_same_waits_or_runs_then_it_is_that_one(serving: Callable[..., Any], work: Work) -> None:
    async with serving() as queue:
        first = await queue.submit("work", "fake", Size(1))
        await until(queue, first, begun)
        waiting = await queue.submit("work", "fake", Size(2))
        again = await asyncio.gather(*(queue.submit("work", "fake", Size(size)) for size in (1, 2, 2)))
        assert [job.id for job in again] == [first.id, waiting.id, waiting.id]
        assert (await queue.submit("work", "other", Size(1))).id not in (first.id, waiting.id)
        await queue.cancel(first.id)
        assert (await queue.submit("work", "fake", Size(1))).id != first.id


async def test_jobs_when_there_are_several_then_one_at_a_time_for_each_model_in_their_order(
    serving: Callable[..., Any], work: Work
) -> None:
    async with serving() as queue:
        jobs = [await queue.submit("work", "fake", Size(size)) for size in (1, 2, 3)]
        other = await queue.submit("work", "other", Size(9))
        await until(queue, jobs[0], begun)
        await until(queue, other, begun)
        assert [job.status for job in (await queue.find(model="fake"))[0]] == ["queued", "queued", "running"]
        work.go.set()
        for job in (*jobs, other):
            assert (await ended(queue, job)).status == "done"
        assert [size for model, size in work.began if model == "fake"] == [1, 2, 3]
        assert work.most_at_once == 1


async def test_cancel_when_it_runs_then_it_stops_within_a_step_and_the_next_one_begins(
    serving: Callable[..., Any], work: Work
) -> None:
    async with serving() as queue:
        job, following = [await queue.submit("work", "fake", Size(size)) for size in (1, 2)]
        await until(queue, job, begun)
        asked_s = time.monotonic()
        cancelled = await queue.cancel(job.id)
        assert cancelled.status == "cancelled" and cancelled.ended
        await until(queue, following, begun)
        assert 0 < work.stopped_s - asked_s < 0.5
        assert await queue.cancel(job.id) == cancelled == await queue.get(job.id)
    assert work.tidied == []


async def test_cancel_when_it_waits_then_it_never_runs(serving: Callable[..., Any], work: Work) -> None:
    async with serving() as queue:
        first, second, third = [await queue.submit("work", "fake", Size(size)) for size in (1, 2, 3)]
        await queue.cancel(second.id)
        work.go.set()
        await ended(queue, third)
        assert [size for _, size in work.began] == [1, 3]
        assert [job.status for job in (await queue.find())[0]] == ["done", "cancelled", "done"]


async def test_cancel_when_the_model_is_loading_then_nobody_waits_for_it(
    serving: Callable[..., Any], work: Work
) -> None:
    go = threading.Event()

    def load(settings: ModelSettings, max_batch: int) -> Engine:
        assert go.wait(60)
        return FakeEngine("slow")

    slow = Registry([ModelSettings("slow", "a/b", load="demand")], load=load)
    slow.start()
    try:
        async with serving(slow) as queue:
            job = await queue.submit("work", "slow", Size())
            loading = await until(queue, job, lambda seen: seen.status == "running")
            assert loading.doing == "loading the model"
            await queue.cancel(job.id)
            later = await queue.submit("work", "slow", Size())
            go.set()
            await until(queue, later, begun)
            work.go.set()
            await ended(queue, later)
        assert len(work.began) == 1
        slow.unload("slow")  # nobody holds it any more
    finally:
        go.set()
        slow.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SetupError("this model can't judge"), "this model can't judge"),
        (EngineFailure("the model failed"), "the model failed"),
        (ZeroDivisionError("secret"), "an unforeseen ZeroDivisionError; the server's log says more"),
    ],
)
async def test_job_when_it_fails_then_the_history_says_why_and_the_queue_goes_on(
    serving: Callable[..., Any], work: Work, error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    work.error = error
    work.go.set()
    async with serving() as queue:
        failed = await ended(queue, await queue.submit("work", "fake", Size()))
        assert (failed.status, failed.error, failed.result) == ("failed", said, None)
        (record,) = caplog.records
        assert re.fullmatch(
            rf"job {failed.id}, work on fake: failed after \d+\.\d s: {re.escape(said)}", record.message
        )
        assert (record.exc_info is not None) == isinstance(error, ZeroDivisionError)
        work.error = None
        assert (await ended(queue, await queue.submit("work", "fake", Size()))).status == "done"
        assert [job.error for job in (await queue.find("failed"))[0]] == [said]


async def test_job_when_it_is_done_or_cancelled_then_one_line_of_the_log_says_so(
    serving: Callable[..., Any], work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "proxy.jobs"):
        async with serving() as queue:
            running = await queue.submit("work", "fake", Size())
            await until(queue, running, begun)
            await queue.cancel(running.id)
            await queue.cancel(running.id)
            work.go.set()
            done = await ended(queue, await queue.submit("work", "fake", Size(2)))
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2 and lines[0].startswith(f"job {running.id}, work on fake: cancelled after ")
    assert lines[1].startswith(f"job {done.id}, work on fake: done after ") and lines[1].endswith(" s")


async def test_job_when_its_model_can_not_be_loaded_then_it_fails_in_words(serving: Callable[..., Any]) -> None:
    def load(settings: ModelSettings, max_batch: int) -> Engine:
        raise SetupError("its weights are missing")

    broken = Registry([ModelSettings("broken", "a/b", load="demand")], load=load)
    broken.start()
    async with serving(broken) as queue:
        failed = await ended(queue, await queue.submit("work", "broken", Size()))
        assert failed.error is not None and "its weights are missing" in failed.error
    broken.close()


async def test_job_when_its_model_is_idle_for_long_then_it_is_not_unloaded_meanwhile(
    serving: Callable[..., Any], work: Work
) -> None:
    settings = [ModelSettings("idle", "a/b", load="demand", unload_after_s=0.05)]
    idle = Registry(settings, load=lambda settings, max_batch: FakeEngine("idle"))
    idle.start()
    async with serving(idle) as queue:
        job = await queue.submit("work", "idle", Size())
        await until(queue, job, begun)
        await asyncio.sleep(0.3)
        assert idle.state("idle").status == "ready"
        work.go.set()
        await ended(queue, job)
        async with asyncio.timeout(5):
            while idle.state("idle").status != "unloaded":
                await asyncio.sleep(0.01)
    idle.close()


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


async def test_submit_when_too_many_wait_then_429_and_a_place_is_free_again_when_one_is_cancelled(
    serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.jobs.queue.MAX_WAITING", 3)
    async with serving() as queue:
        jobs = [await queue.submit("work", "fake", Size(number)) for number in range(3)]
        assert (await queue.submit("work", "fake", Size(0))).id == jobs[0].id
        with pytest.raises(Overloaded) as caught:
            await queue.submit("work", "fake", Size(4))
        assert caught.value.retry_after_s
        await queue.cancel(jobs[2].id)
        await queue.submit("work", "fake", Size(4))
        page, more = await queue.find("queued", limit=1)
        assert (len(page), more) == (1, True)
        rest, more = await queue.find("queued", limit=9, after=page[0].id)
        assert [seen.id for seen in rest] == [jobs[1].id] and not more

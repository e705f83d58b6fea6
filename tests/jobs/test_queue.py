"""Jobs run one at a time for each model, tell what becomes of them, and are cancelled at once."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import Registry
from proxy.errors import EngineFailure, Overloaded, SetupError
from proxy.settings import ModelSettings
from tests.fakes import FakeEngine
from tests.jobs.working import Size, Work, begun, ended, until

pytestmark = pytest.mark.anyio


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

"""A kind of job that goes on until it is told, and what waits for one."""

import asyncio
import threading
import time
from collections.abc import Callable

import msgspec

from proxy.engines.base import Engine
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.queue import JobQueue
from proxy.jobs.store import Job
from proxy.jobs.task import JobTask


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

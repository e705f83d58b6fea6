"""Runs jobs: for each model one at a time, in the order they came, beside whatever else the model does.

A job runs in a thread of its own and holds its model, which is loaded for it where needed. Jobs outlive the server: one
that is interrupted runs again when the next server starts, and finds by itself what it has done already. Knows kinds
of job only by name and function. Lives on one event loop.
"""

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from proxy.engines.errors import EngineError
from proxy.engines.lease import Lease
from proxy.engines.registry import Registry
from proxy.errors import JobsUnavailable, Overloaded, ProxyError
from proxy.jobs.kinds.base import Done, Kind, Stopped
from proxy.jobs.store import Job, JobStore, unknown
from proxy.jobs.task import JobTask
from proxy.protocol.jobs import JobPoint, JobStatus
from proxy.telemetry.logs import fields

logger = logging.getLogger(__name__)
T = TypeVar("T")

STOP_S = 2.0  # what a job gets to come to a halt in when the server stops
TOLD_EVERY_S = 0.25  # to those who watch
KEPT_EVERY_S = 2.0  # in the store, for who asks after a crash
RETRY_AFTER_S = 60  # what a client is told that finds too many waiting
RETRY_S = 5.0  # between two tries to keep how a job ended, where the disk is full
MAX_WAITING = 100  # jobs of all models: each is minutes of work at least


@dataclass
class _Live:
    """A job that has not ended. `halt` ends its thread, `halted` whatever waits for it on the event loop; `changed` is
    set when the record changes, and then replaced. `kept`: how it ended is written down."""

    job: Job
    halt: threading.Event = field(default_factory=threading.Event)
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    kept: bool = False

    def update(self, **changes: Any) -> bool:
        """Change the record, unless the job has ended; whether it was changed."""
        if self.job.ended is not None:
            return False
        self.job = msgspec.structs.replace(self.job, **changes)
        self.tell()
        return True

    def add(self, point: JobPoint) -> None:
        """One more point of the curve it measures."""
        self.update(points=(*self.job.points, point))

    def tell(self) -> None:
        """Wake those who watch."""
        self.changed.set()
        self.changed = asyncio.Event()

    def stop(self) -> None:
        """Bring it to a halt, wherever it is."""
        self.halt.set()
        self.halted.set()


class JobQueue:
    """The server's jobs. JobsUnavailable, in words, where their file can't be used; it is made with the first job."""

    def __init__(
        self,
        store: JobStore,
        registry: Registry,
        kinds: Sequence[Kind],
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """`on_end` is told of each job that ends."""
        self._store = store
        self._on_end = on_end
        self._registry = registry
        self._kinds = {kind.name: kind for kind in kinds}
        self._live: dict[str, _Live] = {}
        self._waiting: defaultdict[str, deque[_Live]] = defaultdict(deque)
        self._runners: dict[str, asyncio.Task[None]] = {}
        self._resting: list[asyncio.Task[None]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._adding = asyncio.Lock()
        self._opened = False
        self._stopping = False

    async def start(self) -> None:
        """Go on with what the last server left. Never fails: what is wrong is said to who asks for jobs."""
        try:
            await self._open(create=False)
        except JobsUnavailable as error:
            logger.warning("%s", error.message)

    def interrupt(self) -> None:
        """Bring all jobs to a halt, so that a later server goes on with them, and end all waiting for them."""
        self._stopping = True
        for live in self._live.values():
            live.update(status="queued", left_s=None)
            live.stop()
            live.tell()

    async def stop(self) -> None:
        """Interrupt, and wait a little for the threads; one that takes longer ends when its model is closed."""
        self.interrupt()
        runners = list(self._runners.values())
        if self._keeper is not None:
            self._keeper.cancel()
        for resting in self._resting:
            resting.cancel()
        if runners:
            await asyncio.wait(runners, timeout=STOP_S)
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
        if self._opened:
            await self._keep_ends()
            await asyncio.to_thread(
                self._store.put_back, [id_ for id_, live in self._live.items() if not live.job.ended]
            )
            await asyncio.to_thread(self._store.close)

    async def submit(
        self, kind: str, model: str, parameters: msgspec.Struct, check: Callable[[], None] = lambda: None
    ) -> Job:
        """Queue a job, or find the same one where it waits or runs already. The model is one of the registry's. A new
        job has to pass `check`, which raises what it likes; no other job is added meanwhile."""
        if not isinstance(parameters, self._kinds[kind].parameters):
            raise TypeError(f"{type(parameters).__name__} are no parameters of {kind}")
        encoded = msgspec.json.encode(parameters).decode()
        async with self._adding:
            await self._open(create=True)
            for live in self._live.values():
                job = live.job
                if job.ended is None and (job.kind, job.model, job.parameters) == (kind, model, encoded):
                    return job
            check()
            if len(self.going_on()) >= MAX_WAITING:
                message = f"{MAX_WAITING} jobs wait already; try again later, or cancel some."
                raise Overloaded(message, retry_after_s=RETRY_AFTER_S)
            job = Job(
                id=f"job-{secrets.token_hex(12)}",
                kind=kind,
                model=model,
                parameters=encoded,
                status="queued",
                created=time.time(),
            )
            await asyncio.to_thread(self._store.add, job)
            self._enqueue(_Live(job))
        return job

    async def get(self, job_id: str) -> Job:
        """One job as it is now. NotFound."""
        if job_id in self._live:
            return self._live[job_id].job
        await self._open(create=False)
        if not self._opened:
            raise unknown(job_id)
        return await asyncio.to_thread(self._store.get, job_id)

    async def find(
        self, status: JobStatus | None = None, model: str | None = None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[Job], bool]:
        """Up to `limit` jobs as they are now, of this status or model if given, newest first, from the one that follows
        the job `after` on; and whether more follow. NotFound for an `after` that is no job's."""
        await self._open(create=False)
        if not self._opened:
            return [], False
        found: list[Job] = []
        while len(found) <= limit:
            kept = await asyncio.to_thread(self._store.find, model, limit + 1, after)
            jobs = [self._live[job.id].job if job.id in self._live else job for job in kept]
            found += [job for job in jobs if status in (None, job.status)]
            if len(kept) <= limit:
                break
            after = kept[-1].id
        return found[:limit], len(found) > limit

    def going_on(self) -> list[Job]:
        """The jobs that wait or run, as they are now. Safe from any thread."""
        return [job for job in [live.job for live in list(self._live.values())] if job.ended is None]

    def under_way(self, kind: str, model: str, trait: str) -> str | None:
        """The id of a job of this kind that waits or runs for a model and a trait. Safe from any thread."""
        for job in self.going_on():
            found = (job.kind, job.model) == (kind, model)
            if found and msgspec.json.decode(job.parameters).get("trait") == trait:
                return job.id
        return None

    async def cancel(self, job_id: str) -> Job:
        """End a job that waits or runs: it counts as cancelled at once, and its work stops within one small step. One
        that has ended stays as it is. NotFound."""
        live = self._live.get(job_id)
        if live is not None and live.update(status="cancelled", ended=time.time(), left_s=None):
            live.stop()
            _log_end(live.job)
            self._on_end(live.job)
            await self._keep_end(live)
        return await self.get(job_id)

    async def watch(self, job_id: str) -> AsyncIterator[Job]:
        """The job as it is now, then whenever it has changed, until it has ended or the server stops. NotFound."""
        live = self._live.get(job_id)
        if live is None:
            yield await self.get(job_id)
            return
        while True:
            changed = live.changed
            yield live.job
            if live.job.ended is not None or self._stopping:
                return
            await changed.wait()
            if live.job.ended is None and not self._stopping:
                await asyncio.sleep(TOLD_EVERY_S)

    async def _open(self, *, create: bool) -> None:
        """Open the store if it is not, and go on with what it holds."""
        async with self._opening:
            if self._stopping:
                raise JobsUnavailable("The server is shutting down.")
            if self._opened or not (create or self._store.exists):
                return
            await asyncio.to_thread(self._store.open)
            self._opened = True
            await asyncio.to_thread(self._store.recover)
            served = {state.id for state in self._registry.models()}
            rests = await asyncio.to_thread(self._store.rests)
            for job in await asyncio.to_thread(self._store.queued):
                live = self._live[job.id] = _Live(job)
                if job.model not in served or job.kind not in self._kinds:
                    continue  # it waits for a server that has its model
                if rest_s := rests.get(job.id):
                    self._resting.append(asyncio.create_task(self._enqueue_later(live, rest_s)))
                else:
                    self._enqueue(live)

    async def _enqueue_later(self, live: _Live, rest_s: float) -> None:
        logger.warning("job %s: several servers ended while it ran; it waits %g s", live.job.id, rest_s)
        live.update(doing=f"waiting {rest_s:g} s, since several servers ended while it ran")
        await asyncio.sleep(rest_s)
        self._enqueue(live)

    def _enqueue(self, live: _Live) -> None:
        model = live.job.model
        self._live[live.job.id] = live
        self._waiting[model].append(live)
        if model not in self._runners:
            self._runners[model] = asyncio.create_task(self._run_all(model))

    async def _run_all(self, model: str) -> None:
        """One job of a model after the other, until there are none."""
        while self._waiting[model] and not self._stopping:
            live = self._waiting[model].popleft()
            if live.job.ended is None:
                await self._run(live)
            if live.kept:
                self._live.pop(live.job.id, None)
        del self._runners[model]

    async def _run(self, live: _Live) -> None:
        hold: Lease | None = None
        try:
            started = live.job.started or time.time()
            live.update(status="running", started=started, doing="loading the model")
            await asyncio.to_thread(self._store.begin, live.job.id, started)
            hold = self._registry.load(live.job.model)
            done = await self._work(hold, live)
        except Exception as error:
            # What a halt brings about, such as a model that was shut down, is not the job's failure.
            if not live.halt.is_set():
                if isinstance(error, ProxyError | EngineError):
                    await self._end(live, status="failed", error=error.message)
                else:
                    why = f"an unforeseen {type(error).__name__}; the server's log says more"
                    await self._end(live, error, status="failed", error=why)
        else:
            if await self._end(live, status="done", result=done.result, fraction=1.0, doing=""):
                await asyncio.to_thread(done.clean_up)
        finally:
            if hold is not None:
                hold.release()

    async def _end(self, live: _Live, unforeseen: Exception | None = None, **changes: Any) -> bool:
        """End a job, unless it has ended; whether it was ended now, and that is kept."""
        if not live.update(**changes, ended=time.time(), left_s=None):
            return False
        _log_end(live.job, unforeseen)
        self._on_end(live.job)
        await self._keep_end(live)
        return live.kept

    async def _keep_end(self, live: _Live) -> None:
        """Write down how a job ended, if possible. Else it is known in memory, and written when that works again."""
        try:
            await self._write_end(live)
        except JobsUnavailable as error:
            logger.error("how the job %s ended can't be kept yet: %s", live.job.id, error.message)
            if self._keeper is None:
                self._keeper = asyncio.create_task(self._keep_ends_later())

    async def _keep_ends_later(self) -> None:
        """Try again and again until the ends of all jobs are kept."""
        while self._unkept():
            await asyncio.sleep(RETRY_S)
            await self._keep_ends()
        self._keeper = None

    async def _keep_ends(self) -> None:
        """Write down how jobs ended, as far as that works now, and forget those."""
        with contextlib.suppress(JobsUnavailable):
            for live in self._unkept():
                await self._write_end(live)
                self._live.pop(live.job.id, None)

    def _unkept(self) -> list[_Live]:
        return [live for live in self._live.values() if live.job.ended is not None and not live.kept]

    async def _write_end(self, live: _Live) -> None:
        await asyncio.to_thread(self._store.end, live.job)
        live.kept = True

    async def _work(self, hold: Lease, live: _Live) -> Done:
        engine = await _unless(live.halted, hold.loaded())
        kind = self._kinds[live.job.kind]
        parameters = msgspec.json.decode(live.job.parameters, type=kind.parameters)
        loop = asyncio.get_running_loop()
        task = JobTask(live.halt, self._reporter(live, loop), lambda point: loop.call_soon_threadsafe(live.add, point))
        return await _in_thread(live.job.id, partial(kind.run, engine, parameters, task))

    def _reporter(self, live: _Live, loop: asyncio.AbstractEventLoop) -> Callable[[str, float, float | None], None]:
        """What a job's thread tells of its progress with."""
        kept_s = -KEPT_EVERY_S

        def report(doing: str, fraction: float, left_s: float | None) -> None:
            nonlocal kept_s
            loop.call_soon_threadsafe(partial(live.update, doing=doing, fraction=fraction, left_s=left_s))
            if time.monotonic() - kept_s >= KEPT_EVERY_S:
                kept_s = time.monotonic()
                try:
                    self._store.progressed(live.job.id, doing, fraction)
                except JobsUnavailable as error:  # what a job makes may still find room
                    logger.warning("how far the job %s is can't be kept: %s", live.job.id, error.message)

        return report


def _log_end(job: Job, unforeseen: Exception | None = None) -> None:
    """One line; with a traceback where nobody foresaw why it failed."""
    seconds = 0.0 if job.started is None or job.ended is None else job.ended - job.started
    level = logging.WARNING if job.status == "failed" else logging.INFO
    why = f": {job.error}" if job.error else ""
    line = f"job {job.id}, {job.kind} on {job.model}: {job.status} after {seconds:.1f} s{why}"
    extra = fields(job=job.id, kind=job.kind, model=job.model, status=job.status, seconds=round(seconds, 1))
    logger.log(level, "%s", line.replace("\n", " "), exc_info=unforeseen, extra=extra)


async def _unless(halted: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or Stopped, with `work` cancelled, as soon as `halted` is set."""
    task, halt = asyncio.ensure_future(work), asyncio.ensure_future(halted.wait())
    try:
        await asyncio.wait((task, halt), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Stopped
        return task.result()
    finally:
        task.cancel()
        halt.cancel()


def _in_thread(name: str, work: Callable[[], T]) -> "asyncio.Future[T]":
    """Its result, from a thread of its own: unlike an executor's it is not waited for when the process ends."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return asyncio.wrap_future(future)

"""Who may start: a bounded number of answers per model, and the bridge from worker threads to the event loop; what is
under way is counted on that way.

Knows engines only as something that starts runs and reports events; nothing of HTTP or steering. An engine keeps its
own queue in order; here it is only kept from growing beyond what the operator allows.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass

from proxy.chat.pace import Pace
from proxy.engines.base import AwaitedRun, Engine, Event, Failure, Generation, Run, Token
from proxy.errors import InvalidRequest, Overloaded, ProxyError

RETRY_AFTER_S = 2


@dataclass
class RunTimes:
    """When a run's first and last token came, in seconds on time.perf_counter's clock; None before."""

    first_s: float | None = None
    last_s: float | None = None


class Scheduler:
    """Counts the places taken per model: `max_batch` answers being made and `max_queue` waiting. Lives on one event
    loop."""

    def __init__(self, max_batch: int, max_queue: int) -> None:
        self.capacity = max_batch + max_queue
        self._taken: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._pace: dict[str, Pace] = {}

    def pace(self, model: str) -> Pace:
        """How fast the model's answers grow, all of them together."""
        if model not in self._pace:
            self._pace[model] = Pace()
        return self._pace[model]

    def running(self, model: str) -> int:
        """Answers under way that have a token; the rest of what is taken waits, or its prompt is being read."""
        return self._running[model]

    def taken(self, model: str) -> int:
        """Places in use, running or waiting."""
        return self._taken[model]

    def admit(self, model: str, places: int, field: str = "n") -> "Admission":
        """Take `places` places. Overloaded (429) when fewer are free; InvalidRequest when there never are so many,
        which names `field` as what asked for them."""
        if places > self.capacity:
            raise InvalidRequest(
                f"{places} answers at once are more than this server takes; possible: up to {self.capacity}",
                param=field,
            )
        if self._taken[model] + places > self.capacity:
            raise Overloaded(
                f"the queue of {model} is full ({self.capacity} answers under way or waiting); try again shortly",
                retry_after_s=RETRY_AFTER_S,
            )
        self._taken[model] += places
        return Admission(self, model, places)

    def begun(self, model: str) -> None:
        """An answer has its first token."""
        self._running[model] += 1

    def release(self, model: str, *, begun: bool = False) -> None:
        """Give one place back; `begun` is whether its answer had a token."""
        self._taken[model] -= 1
        self._running[model] -= begun


class Admission:
    """The places of one request and the runs in them. Close it when the request ends, however it ends."""

    def __init__(self, scheduler: Scheduler, model: str, places: int) -> None:
        self.model = model
        self._scheduler = scheduler
        self._unused = places
        self._runs: dict[int, Run] = {}
        self._live: set[int] = set()
        self._begun: set[int] = set()  # of those that are live
        self.times: list[RunTimes] = []  # of each run that was started
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._on_close = ExitStack()
        self._loop = asyncio.get_running_loop()

    def on_close(self, call: Callable[[], None]) -> None:
        """Have `call` called when the admission is closed, after its runs have been cancelled."""
        self._on_close.callback(call)

    def start(self, engine: Engine, generation: Generation) -> int:
        """Start a generation in one of the places and return its index, counted from 0."""
        if self._unused < 1:
            raise RuntimeError("no place left in this admission")
        index = len(self.times)
        self._live.add(index)
        try:
            self._runs[index] = engine.start(generation, lambda event: self._from_worker(index, event))
        except BaseException:
            self._live.discard(index)
            raise
        self.times.append(RunTimes())
        self._unused -= 1
        return index

    async def accepted(self, index: int) -> None:
        """Wait until it is certain that a run begins. Raises what it ends in where it does not come to that."""
        run = self._runs.get(index)
        if isinstance(run, AwaitedRun):
            await asyncio.wrap_future(run.accepted)

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """The events of all runs as they come, each with its run's index, until every run has ended."""
        while self._live or not self._events.empty():
            index, event = await self._events.get()
            if index in self._runs:
                if not isinstance(event, Token):
                    del self._runs[index]
                yield index, event

    def cancel(self, index: int) -> None:
        """End one run early and free its place; its remaining events are dropped. Harmless when it has ended."""
        run = self._runs.pop(index, None)
        if run is not None:
            run.cancel()
        self._end(index)

    def fail(self, error: ProxyError) -> None:
        """Make every run still going end in a Failure for whoever reads the events."""
        for index in sorted(self._live):
            self._runs[index].cancel()
            self._deliver(index, Failure(error))

    def close(self) -> None:
        """Cancel what still runs and give all places back. More than once is harmless."""
        for index in list(self._runs):
            self.cancel(index)
        while self._unused > 0:
            self._unused -= 1
            self._scheduler.release(self.model)
        self._on_close.close()

    def _from_worker(self, index: int, event: Event) -> None:
        # After the event loop has closed nobody is left to tell; the worker must survive that.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, index, event)

    def _deliver(self, index: int, event: Event) -> None:
        if index not in self._live:
            return
        self._events.put_nowait((index, event))
        if isinstance(event, Token):
            self._count(index)
        else:
            self._end(index)

    def _count(self, index: int) -> None:
        self._scheduler.pace(self.model).add()
        times = self.times[index]
        times.last_s = time.perf_counter()
        if times.first_s is None:
            times.first_s = times.last_s
            self._begun.add(index)
            self._scheduler.begun(self.model)

    def _end(self, index: int) -> None:
        if index in self._live:
            self._live.discard(index)
            self._scheduler.release(self.model, begun=index in self._begun)
            self._begun.discard(index)

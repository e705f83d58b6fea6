"""The one thread that runs a model: steps of the shared batch in turn with steps of longer tasks.

Everything that touches the model happens on this thread, or on one that it shares with other models and waits for;
other threads only leave messages. Knows nothing of what an answer, a task or a model is about.
"""

import gc
import logging
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from proxy.engines.answer import RunningAnswer
from proxy.engines.errors import EngineClosed, ModelFailed
from proxy.engines.gathering import Gatherings

logger = logging.getLogger(__name__)
M = TypeVar("M")
T = TypeVar("T")
Steps = Callable[[M], Generator[None, None, T]]


class Batch(Protocol):
    """The answers of one model. What fails inside it ends in Failure events; it raises nothing."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""

    @property
    def cached_bytes(self) -> int:
        """Of memory, for what is kept of prompts. The one thing that other threads may ask."""

    def add(self, answer: RunningAnswer) -> None:
        """Queue an answer for a later step."""

    def step(self) -> None:
        """Go on with every answer by a token or a chunk of its prompt."""

    def pause(self) -> None:
        """Whatever waits for the next step can't wait: something else comes before it."""

    def fail_all(self, error: Exception) -> None:
        """End every answer, and start afresh."""


class StepPlace(Protocol):
    """Where steps are run."""

    @property
    def wanted(self) -> bool:
        """Whether somebody else waits for it."""

    def run(self, work: Callable[[], None]) -> None:
        """Do work there, and return when it is done."""


class OwnThread:
    """The worker's own thread, which nobody else wants."""

    wanted = False

    def run(self, work: Callable[[], None]) -> None:
        """Do work at once."""
        work()


class Worker(Generic[M]):
    """Owns a model until `close`. Answers and tasks may be handed in from any thread.

    `within` is entered on the thread for as long as it lives; `release` is called when it has ended and nothing here
    refers to the model any more. `place` is where steps are run: many in a row, unless somebody else waits for it.
    """

    def __init__(
        self,
        name: str,
        model: M,
        batch: Batch,
        within: AbstractContextManager[Any],
        release: Callable[[], None],
        place: StepPlace | None = None,
    ) -> None:
        self._inbox: queue.SimpleQueue[RunningAnswer | tuple[Steps[M, Any], Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between handing in and closing: nothing is left in the inbox unanswered
        self._closed = False
        self._release = release
        self._batch = weakref.ref(batch)  # which refers to the model, and has to go with the thread
        self._thread = threading.Thread(
            target=_work,
            args=(model, batch, self._inbox, within, place or OwnThread()),
            name=f"model {name}",
            daemon=True,
        )
        self._thread.start()

    @property
    def cached_bytes(self) -> int:
        """Of memory, for what the batch keeps of prompts; 0 after `close`."""
        batch = self._batch()
        return 0 if batch is None else batch.cached_bytes

    def start(self, answer: RunningAnswer) -> None:
        """Run an answer. EngineClosed after `close`."""
        self._hand_in(answer)

    def run(self, steps: Steps[M, T]) -> T:
        """Run a task, a step at a time, and wait for its result. EngineClosed after `close`."""
        future: Future[T] = Future()
        self._hand_in((steps, future))
        return future.result()

    def _hand_in(self, item: RunningAnswer | tuple[Steps[M, Any], Future[Any]]) -> None:
        with self._lock:
            if self._closed:
                raise _closed()
            self._inbox.put(item)

    def close(self) -> None:
        """End everything, wait for the thread, give the memory back."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()
        gc.collect()
        self._release()


def _closed() -> EngineClosed:
    return EngineClosed("the model was shut down")


def _work(
    model: M, batch: Batch, inbox: "queue.SimpleQueue[Any]", within: AbstractContextManager[Any], place: StepPlace
) -> None:
    """The thread: the model lives in its arguments and goes when it ends."""
    desk = _Desk(model, batch, inbox, place)
    with within:
        while not desk.closed:
            desk.wait()
            place.run(desk.go_on)


class _Desk(Generic[M]):
    """What is under way on a model."""

    def __init__(self, model: M, batch: Batch, inbox: "queue.SimpleQueue[Any]", place: StepPlace) -> None:
        self.closed = False
        self._model = model
        self._batch = batch
        self._inbox = inbox
        self._place = place
        self._tasks: deque[tuple[Generator[None, None, Any], Future[Any]]] = deque()
        self._gatherings = Gatherings()
        self._chats_until = 0.0

    @property
    def _idle(self) -> bool:
        return not (self._batch.busy or self._tasks)

    def wait(self) -> None:
        """Until there is something to do."""
        if self._idle:
            self._take(self._inbox.get())

    def go_on(self) -> None:
        """Do all that there is to do, or go on with it until somebody else wants the place."""
        self._receive()
        while not self.closed:
            self._join()
            try:
                self._batch.step()
            except Exception:
                logger.exception("the batch failed")
                self._batch.fail_all(ModelFailed("the model failed while it ran"))
            self._join()
            if self._tasks:
                self._task()
            if self._idle or self._place.wanted:
                return
            self._receive()

    def _receive(self) -> None:
        while not (self.closed or self._inbox.empty()):
            self._take(self._inbox.get())

    def _take(self, item: Any) -> None:
        if item is None:
            self._close()
        elif isinstance(item, RunningAnswer):
            if (together := item.generation.together) is None:
                self._batch.add(item)
            else:
                self._gatherings.add(item, together)
        else:
            steps, future = item
            self._tasks.append((steps(self._model), future))

    def _join(self) -> None:
        for answer in self._gatherings.due():
            self._batch.add(answer)

    def _task(self) -> None:
        """A step of the task whose turn it is, unless chats have theirs."""
        began = time.monotonic()
        if began < self._chats_until and self._batch.busy:
            return
        self._batch.pause()
        if _task_step(*self._tasks[0]):
            self._tasks.popleft()
        self._tasks.rotate(-1)
        # However long a task's step takes, chats that run beside it get as much time before the next one.
        ended = time.monotonic()
        self._chats_until = ended + (ended - began)

    def _close(self) -> None:
        self.closed = True
        for answer in self._gatherings.take_all():
            self._batch.add(answer)
        self._batch.fail_all(_closed())
        for _, future in self._tasks:
            future.set_exception(_closed())


def _task_step(steps: Generator[None, None, Any], future: "Future[Any]") -> bool:
    """Whether the task is over."""
    try:
        next(steps)
    except StopIteration as done:
        future.set_result(done.value)
    except Exception as error:
        logger.error("a task on the model failed", exc_info=error)
        failure = ModelFailed(f"the model failed while it ran ({type(error).__name__})")
        failure.__cause__ = error
        future.set_exception(failure)
    else:
        return False
    return True

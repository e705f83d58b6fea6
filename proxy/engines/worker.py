"""The one thread that runs a model: steps of the shared batch in turn with steps of longer tasks.

Everything that touches the model happens on this thread; other threads only leave messages. Knows nothing of what an
answer, a task or a model is about.
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


class Worker(Generic[M]):
    """Owns a model until `close`. Answers and tasks may be handed in from any thread.

    `within` is entered on the thread for as long as it lives; `release` is called when it has ended and nothing here
    refers to the model any more.
    """

    def __init__(
        self, name: str, model: M, batch: Batch, within: AbstractContextManager[Any], release: Callable[[], None]
    ) -> None:
        self._inbox: queue.SimpleQueue[RunningAnswer | tuple[Steps[M, Any], Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between handing in and closing: nothing is left in the inbox unanswered
        self._closed = False
        self._release = release
        self._batch = weakref.ref(batch)  # which refers to the model, and has to go with the thread
        self._thread = threading.Thread(
            target=_work, args=(model, batch, self._inbox, within), name=f"model {name}", daemon=True
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


def _work(model: M, batch: Batch, inbox: "queue.SimpleQueue[Any]", within: AbstractContextManager[Any]) -> None:
    """The thread: the model lives in its arguments and goes when it ends."""
    tasks: deque[tuple[Generator[None, None, Any], Future[Any]]] = deque()
    gatherings = Gatherings()
    chats_until = 0.0
    with within:
        while True:
            for item in _received(inbox, wait=not (batch.busy or tasks)):
                if item is None:
                    for answer in gatherings.take_all():
                        batch.add(answer)
                    batch.fail_all(_closed())
                    for _, future in tasks:
                        future.set_exception(_closed())
                    return
                if isinstance(item, RunningAnswer):
                    if (together := item.generation.together) is None:
                        batch.add(item)
                    else:
                        gatherings.add(item, together)
                else:
                    steps, future = item
                    tasks.append((steps(model), future))
            for answer in gatherings.due():
                batch.add(answer)
            try:
                batch.step()
            except Exception:
                logger.exception("the batch failed")
                batch.fail_all(ModelFailed("the model failed while it ran"))
            for answer in gatherings.due():
                batch.add(answer)
            began = time.monotonic()
            if tasks and (began >= chats_until or not batch.busy):
                batch.pause()
                if _task_step(*tasks[0]):
                    tasks.popleft()
                tasks.rotate(-1)
                # However long a task's step takes, chats that run beside it get as much time before the next one.
                ended = time.monotonic()
                chats_until = ended + (ended - began)


def _received(inbox: "queue.SimpleQueue[Any]", wait: bool) -> list[Any]:
    items = [inbox.get()] if wait else []
    while True:
        try:
            items.append(inbox.get_nowait())
        except queue.Empty:
            return items


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

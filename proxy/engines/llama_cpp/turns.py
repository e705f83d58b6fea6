"""The one thread on which llama.cpp computes on a CPU, whichever model asks.

OpenMP gives every thread that computes helpers of its own. Once there are more of these than cores, they go to sleep
at each barrier, of which a step has hundreds: it takes a third longer, though nobody else is computing. And two models
that compute at the same time keep each other's helpers waiting. So they take turns, a step at a time. To hand a step
over to another thread takes a small model a hundredth of it, so a model that is alone does all its work there. Knows
nothing of models.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Turn(Generic[T]):
    """Work, and what it came to once `done` is free. A Future would do, but wakes up who waits twice as slowly."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        assert self._work is not None
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error
        self._work = None  # it refers to a model, which may have to go before anybody asks again
        self._done.release()

    def result(self) -> T:
        """What the work returned or raised, once it has."""
        with self._done:
            if self._error is not None:
                raise self._error
            return self._result[0]


_asked: "queue.SimpleQueue[_Turn[object]]" = queue.SimpleQueue()
_starting = threading.Lock()
_thread: threading.Thread | None = None


class ComputingThread:
    """That thread, as a place for the work of one model."""

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a turn."""
        return not _asked.empty()

    def run(self, work: Callable[[], None]) -> None:
        """Do work there, as `in_turn`."""
        in_turn(work)


def in_turn(work: Callable[[], T], meanwhile: Callable[[], None] | None = None) -> T:
    """What `work` returns or raises, once those who asked before have had their turn. From any thread, on which
    `meanwhile` is run after asking; on the computing thread itself it is run first, and nothing waited for."""
    global _thread
    if threading.current_thread() is _thread:
        if meanwhile is not None:
            meanwhile()
        return work()
    with _starting:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="llama.cpp", daemon=True)
            _thread.start()
    turn = _Turn(work)
    _asked.put(turn)  # type: ignore[arg-type]  # whatever it returns
    try:
        if meanwhile is not None:
            meanwhile()
    finally:
        result = turn.result()
    return result


def _work() -> None:
    while True:
        turn = _asked.get()
        turn.run()
        del turn  # it may hold what refers to a model

"""The one thread on which llama.cpp computes on a CPU, whichever model asks.

OpenMP gives every thread that computes helpers of its own. Once there are more of these than cores, they go to sleep
at each barrier, of which a step has hundreds: it takes a third longer, though nobody else is computing. And two models
that compute at the same time keep each other's helpers waiting. So they take turns, a step at a time. Knows nothing of
models.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_asked: "queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]]" = queue.SimpleQueue()
_starting = threading.Lock()
_thread: threading.Thread | None = None


def in_turn(work: Callable[[], T]) -> T:
    """What `work` returns or raises, once those who asked before have had their turn. From any thread."""
    global _thread
    with _starting:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="llama.cpp", daemon=True)
            _thread.start()
    done: Future[T] = Future()
    _asked.put((work, done))
    return done.result()


def _work() -> None:
    while True:
        work, done = _asked.get()
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)
        del work, done  # they refer to a model, which may have to go before anybody asks again

"""What a kind of job is: a name, the struct of its parameters, and a function. Knows nothing of queues."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.engines.base import Engine


class Stopped(Exception):
    """The job is to end now: it was cancelled, or the server stops."""


@dataclass(frozen=True)
class Kind:
    """A kind of job: the struct of its parameters, and the function that does it, in a thread of the job's own.

    `run` may block. It calls the task's `check` every now and then, and keeps what it has done where it finds it again
    when it is called once more, which may happen even after it has returned. What it raises is why the job failed: a
    ProxyError in its own words.
    """

    name: str
    parameters: type[msgspec.Struct]
    run: Callable[[Engine, Any, "Task"], "Done"]


@dataclass(frozen=True)
class Done:
    """What a job made, which JSON can say. `clean_up` may block, and is called when it is sure that the job is not run
    again."""

    result: dict[str, Any]
    clean_up: Callable[[], None]


class Task:
    """What a running job knows of its queue. For the job's own thread."""

    def __init__(self, stopped: threading.Event, report: Callable[[str, float, float | None], None]) -> None:
        self._stopped = stopped
        self._report = report

    def check(self) -> None:
        """Raises Stopped when the job is to end."""
        if self._stopped.is_set():
            raise Stopped

    def report(self, doing: str, fraction: float, left_s: float | None) -> None:
        """What the job is at, how much of it is done, 0 to 1, and how long the rest may take. Raises Stopped too."""
        self.check()
        self._report(doing, fraction, left_s)

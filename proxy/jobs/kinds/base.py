"""What a kind of job is: a name, the struct of its parameters, and a function. Knows nothing of queues and consoles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from proxy.engines.base import Engine
from proxy.steering.work import FolderParts, Work


class Stopped(Exception):
    """The work is to end now: its job was cancelled, or the server stops."""


@dataclass(frozen=True)
class Kind:
    """A kind of job: the struct of its parameters, and the function that does it, for a server's job or for a command.

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


class Task(Protocol):
    """What work under way knows of who has it done. For the work's own thread."""

    def check(self) -> None:
        """Raises what ends the work, such as Stopped, when it is to end."""

    def work(self, parts: FolderParts, stages: Mapping[str, float], max_running: int) -> Work:
        """How the work is done: what is finished is kept in `parts`, or was there before. `stages` are those it
        reports, in order, and about how much each is, in any unit; the engine is given `max_running` answers at
        once."""

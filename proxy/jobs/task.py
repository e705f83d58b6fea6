"""What a job's thread knows of its queue."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.jobs.estimate import Estimate
from proxy.jobs.kinds.base import Stopped
from proxy.protocol.jobs import JobPoint
from proxy.steering.sweep import PolePoint
from proxy.steering.work import FolderParts, Work


@dataclass(frozen=True)
class JobTask:
    """A kind's work in the queue. `report` is told what the job is at, how much of it is done, 0 to 1, and how many
    seconds the rest may take; `found` each point of a curve that is measured."""

    stopped: threading.Event
    report: Callable[[str, float, float | None], None]
    found: Callable[[JobPoint], object] = lambda point: None

    def check(self) -> None:
        """Raises Stopped when the job is to end."""
        if self.stopped.is_set():
            raise Stopped

    def work(self, parts: FolderParts, stages: Mapping[str, float], max_running: int) -> Work:
        """Work in these parts, whose progress is reported by `stages`."""

        def report(doing: str, fraction: float, left_s: float | None) -> None:
            self.check()
            self.report(doing, fraction, left_s)

        def tell(found: object) -> None:
            if isinstance(found, PolePoint):
                self.found(JobPoint(found.side, found.point))

        return Work(Estimate(stages, report), parts, self.check, max_running, tell)

"""How far work of several stages is, and how long the rest may take.

Only what was really done counts for the time: parts that were finished before the work was taken up again are there at
once. Knows nothing of what the stages are.
"""

import time
from collections.abc import Callable, Mapping


class Estimate:
    """Told of a stage's progress, it tells `report` what is being done, the fraction of everything that is done, and
    the seconds left, None until something was done.

    `stages` are the names of all stages in their order and about how much each is, in any unit. Stages may take turns:
    of one that was begun counts what it said last, and one that comes before another that was begun, and never said
    anything, had nothing to do.
    """

    def __init__(
        self,
        stages: Mapping[str, float],
        report: Callable[[str, float, float | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages = stages
        self._total = sum(stages.values())
        self._report = report
        self._clock = clock
        self._shares: dict[str, float] = {}  # of each stage that was begun, how much is done
        self._at_s = clock()
        self._worked, self._worked_s = 0.0, 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` of a stage are done. What the first call for a stage says was there before."""
        now_s, share = self._clock(), done / total if total else 1.0
        if stage in self._shares:
            self._worked += (share - self._shares[stage]) * self._stages[stage]
            self._worked_s += now_s - self._at_s
        self._shares[stage], self._at_s = share, now_s
        names = list(self._stages)
        last = max(names.index(begun) for begun in self._shares)
        finished = sum(
            self._shares.get(name, float(number < last)) * size
            for number, (name, size) in enumerate(self._stages.items())
        )
        left_s = self._worked_s / self._worked * (self._total - finished) if self._worked else None
        self._report(stage, finished / self._total, left_s)

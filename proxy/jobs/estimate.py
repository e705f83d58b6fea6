"""How far work of several stages is, and how long the rest may take.

Only what was really done counts for the time: parts that were finished before the work was taken up again are there at
once. Knows nothing of what the stages are.
"""

import time
from collections.abc import Callable, Mapping


class Estimate:
    """Told of a stage's progress, it tells `report` what is being done, the fraction of everything that is done, and
    the seconds left, None until something was done.

    `stages` are the names of all stages in their order and about how much each is, in any unit.
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
        self._stage = ""
        self._share = 0.0  # of this stage that is done
        self._at_s = clock()
        self._worked, self._worked_s = 0.0, 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` of a stage are done. What the first call for a stage says was there before."""
        now_s, share = self._clock(), done / total if total else 1.0
        if stage == self._stage:
            self._worked += (share - self._share) * self._stages[stage]
            self._worked_s += now_s - self._at_s
        self._stage, self._share, self._at_s = stage, share, now_s
        before = 0.0
        for name, size in self._stages.items():
            if name == stage:
                break
            before += size
        finished = before + share * self._stages[stage]
        left_s = self._worked_s / self._worked * (self._total - finished) if self._worked else None
        self._report(stage, finished / self._total, left_s)

"""Answers that begin together, held back until all of them are there, and then let go a few at a time.

When each joins the batch depends on nothing but the answers themselves, neither on the clock nor on how fast they are
handed in. Knows nothing of models; lives on the worker's thread.
"""

from collections import deque

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Together


class _Gathering:
    def __init__(self, together: Together) -> None:
        self._together = together
        self._missing = together.size
        self.waiting: deque[RunningAnswer] = deque()
        self._running: list[RunningAnswer] = []

    def add(self, answer: RunningAnswer) -> None:
        self._missing -= 1
        self.waiting.append(answer)

    def due(self) -> list[RunningAnswer]:
        """The answers that join now."""
        self._running = [answer for answer in self._running if not _over(answer)]
        self.waiting = deque(answer for answer in self.waiting if not _over(answer))
        if self._missing:
            return []
        room = max(self._together.most - len(self._running), 0)
        found = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        self._running += found
        return found


class Gatherings:
    """All that one worker holds back."""

    def __init__(self) -> None:
        self._all: dict[Together, _Gathering] = {}

    def add(self, answer: RunningAnswer, together: Together) -> None:
        """Hold an answer back."""
        if together not in self._all:
            self._all[together] = _Gathering(together)
        self._all[together].add(answer)

    def due(self) -> list[RunningAnswer]:
        """The answers that join before the next step."""
        if not self._all:
            return []
        found = [answer for gathering in self._all.values() for answer in gathering.due()]
        self._all = {together: gathering for together, gathering in self._all.items() if gathering.waiting}
        return found

    def take_all(self) -> list[RunningAnswer]:
        """Hold nothing back any more."""
        found = [answer for gathering in self._all.values() for answer in gathering.waiting]
        self._all.clear()
        return found


def _over(answer: RunningAnswer) -> bool:
    return answer.ended or answer.cancelled

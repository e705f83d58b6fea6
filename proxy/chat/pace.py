"""How many tokens came, and how many of late. Knows nothing of models or answers."""

import time
from collections import deque

WINDOW_S = 60


class Pace:
    """Counts tokens, `total` in all, and by the second they came in, which is forgotten after a minute. Lives on one
    event loop."""

    def __init__(self) -> None:
        self.total = 0
        self._seconds: deque[tuple[int, int]] = deque(maxlen=WINDOW_S + 1)  # which one, and how many tokens came in it

    def add(self) -> None:
        """A token came."""
        self.total += 1
        now, count = int(time.monotonic()), 0
        if self._seconds and self._seconds[-1][0] == now:
            _, count = self._seconds.pop()
        self._seconds.append((now, count + 1))

    def per_second(self) -> float:
        """The mean over the last minute, pauses included."""
        since = int(time.monotonic()) - WINDOW_S
        return sum(count for second, count in self._seconds if second > since) / WINDOW_S

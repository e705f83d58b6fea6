"""One of the servers that a model runs on: whether it may be given anything new, and what it was given.

Knows nothing of HTTP and has no clock of its own. Lives on the engine's event loop; others may read it.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from proxy.engines.base import UpstreamOutcome, UpstreamState
from proxy.engines.vllm.wire import SteerableModel

TRIPS_AT = 3  # failures in a row
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # of a tripped breaker; it doubles from trip to trip
PLANS = 4096  # that are remembered to have been told; a server holds fewer
STRIKES = 2  # checks in a row that a busy server may leave unanswered


@dataclass(eq=False)
class Replica:
    """`maker` made the server, as its list of models says. `healthy` is what the last check found, `problem` why not,
    in one line. `steers`: what plans for it are made for, None where it takes none. `draining`: the operator wants it
    to be given nothing new. `running`: how many requests it has of ours. `answered`: when it last began or ended an
    answer. `suspect` is set where somebody wants it to be checked soon."""

    url: str
    maker: str = ""
    context_length: int | None = None
    steers: SteerableModel | None = None
    healthy: bool = False
    problem: str | None = "it was not asked yet"
    draining: bool = False
    running: int = 0
    answered: float = -math.inf
    suspect: asyncio.Event = field(default_factory=asyncio.Event)
    ended: "Counter[UpstreamOutcome]" = field(default_factory=Counter)
    _told: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    _failures: int = 0  # in a row
    _strikes: int = 0
    _pause_s: float = FIRST_PAUSE_S
    _open_until: float | None = None  # the breaker is open until then, and half open after it
    _trying: bool = False  # the one request that a half-open breaker lets through is under way

    def state(self, now: float) -> UpstreamState:
        """What it may be given: anything when up, one request when half open, otherwise nothing."""
        if self.draining:
            return "draining"
        if not self.healthy:
            return "down"
        if self._open_until is None:
            return "up"
        return "open" if now < self._open_until else "half_open"

    def fit(self, now: float) -> bool:
        """Whether it may be given a request."""
        state = self.state(now)
        return state == "up" or (state == "half_open" and not self._trying)

    def take(self, now: float) -> bool:
        """Count a request that is given to it. Whether that request is the trial of a half-open breaker: `settle` wants
        to know."""
        self.running += 1
        trial = self.state(now) == "half_open"
        self._trying = self._trying or trial
        return trial

    def settle(self, outcome: UpstreamOutcome, now: float, *, trial: bool) -> None:
        """How a request ended that was taken. One that was cancelled, refused or turned away says nothing of its
        health, and leaves a half-open breaker as it is."""
        self.running -= 1
        self.ended[outcome] += 1
        if trial:
            self._trying = False
        if outcome == "ok":
            self.succeed(now)
        elif outcome == "failed":
            self._fail(now, trial=trial)

    def succeed(self, now: float) -> None:
        """It answers: its breaker is closed."""
        self.answered = now
        self._failures, self._open_until, self._pause_s = 0, None, FIRST_PAUSE_S

    def _fail(self, now: float, *, trial: bool) -> None:
        self._failures += 1
        if self._open_until is None and self._failures >= TRIPS_AT:
            self._open_until = now + self._pause_s
        elif trial:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
            self._open_until = now + self._pause_s

    def knows(self, plan: str) -> bool:
        """Whether it was told a plan, and has not been away since. It may have forgotten it all the same."""
        return plan in self._told

    def learnt(self, plan: str) -> None:
        """It was told a plan."""
        self._told[plan] = None
        if len(self._told) > PLANS:
            self._told.popitem(last=False)

    def forgot(self, plan: str) -> None:
        """It does not know a plan any more."""
        self._told.pop(plan, None)

    def passed(self) -> None:
        """A check found nothing wrong."""
        self.healthy, self.problem, self._strikes = True, None, 0

    def failed(self, problem: str) -> None:
        """A check, or a connection that was refused, says that it is not there."""
        self._strikes = STRIKES
        self.healthy, self.problem = False, problem
        self._told.clear()

    def silent(self, problem: str) -> None:
        """A check was not answered in time, which a busy server may leave once."""
        self._strikes += 1
        if self._strikes >= STRIKES or not self.healthy:
            self.failed(problem)

"""Answers that vLLM makes for a proxy elsewhere, read along: what probes read at each token, and that token's text.

It is kept until the proxy asks for it, once, behind the answer's end. Knows nothing of HTTP, and of vLLM only how its
answers come. Lives on one event loop.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Event, Token
from proxy.engines.vllm.listening import Listening, ProbeReadings
from proxy.engines.vllm.wire import ReadAnswer

logger = logging.getLogger(__name__)

MOST_KEPT = 1024  # answers that nobody has asked for yet
KEPT_S = 60.0  # that one is; whoever asks does so at once

MakeAnswer = Callable[[Callable[[Event], None]], RunningAnswer]


class ReadAnswers:
    """What was read of answers that have ended, by the names that their proxy gave them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all: OrderedDict[str, tuple[float, ReadAnswer]] = OrderedDict()  # with the time it came

    def keep(self, name: str, answer: ReadAnswer) -> None:
        """Until it is taken, or was not for too long."""
        now = self._clock()
        self._all[name] = now, answer
        self._all.move_to_end(name)
        while len(self._all) > MOST_KEPT or next(iter(self._all.values()))[0] < now - KEPT_S:
            self._all.popitem(last=False)

    def take(self, name: str) -> ReadAnswer | None:
        """None where nothing is kept under this name."""
        _, answer = self._all.pop(name, (0.0, None))
        return answer


class ReadingAlong:
    """One answer, whose prompt has so many tokens. The last token that it is told of has no reading: it was drawn, and
    not run."""

    def __init__(self, make: MakeAnswer, readings: ProbeReadings, n_prompt: int) -> None:
        self._answer = make(self._note)
        self._readings = readings
        self._n_prompt = n_prompt
        self._texts: list[str] = []
        self._last: int | None = None

    def hear(self, tokens: Sequence[int]) -> None:
        """The answer goes on with these."""
        for token in tokens:
            if self._last is not None:
                self._answer.accept(self._last, frozenset(), context_length=self._answer.length + 2)
            self._last = token

    async def read(self) -> ReadAnswer:
        """All of it, once the answer has ended. TimeoutError where a reading does not come."""
        return ReadAnswer([(text, await self._readings.at(self._n_prompt + at)) for at, text in enumerate(self._texts)])

    def _note(self, event: Event) -> None:
        if isinstance(event, Token):
            self._texts.append(event.text)


@contextmanager
def reading_along(make: MakeAnswer, listening: Listening, n_prompt: int) -> Iterator[tuple[int, ReadingAlong]]:
    """The key that the request has to carry, and its answer meanwhile."""
    key, readings = listening.expect()
    try:
        yield key, ReadingAlong(make, readings, n_prompt)
    finally:
        listening.forget(key)

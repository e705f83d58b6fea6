"""The projections of recent answers, in memory, and how far they drift.

Answers are comparable, and make one series, where model, persona, the pole looked at, its vector and the block are the
same. Bounded: a series forgets its oldest answers, and the series used longest ago goes. Knows nothing of requests; one
thread at a time uses it.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

KEPT_ANSWERS = 1000  # of each series
KEPT_SERIES = 256


@dataclass(frozen=True)
class SeriesKey:
    """What the answers of one series have in common. `persona` is what they were steered to: poles, sorted, with commas
    between them, or "none". `separation`: how well the block tells the trait's poles apart, as AUROC of held-out
    answers; None where nobody measured."""

    model: str
    persona: str
    pole: str
    vector_id: str
    block: int
    separation: float | None


@dataclass(frozen=True)
class ProjectionRecord:
    """One answer: its mean projection over `tokens` tokens, and when it ended, in Unix seconds. `coefficient` is None
    where the pole looked at is not one that was steered to."""

    time: float
    projection: float
    tokens: int
    coefficient: float | None


@dataclass
class Series:
    """One series: `count` answers so far, of which the latest are kept in `readings`, oldest first."""

    count: int
    readings: deque[ProjectionRecord]


class Monitor:
    """The series of recent answers, as many as fit."""

    def __init__(self) -> None:
        self._series: OrderedDict[SeriesKey, Series] = OrderedDict()

    def record(self, key: SeriesKey, reading: ProjectionRecord) -> None:
        """Take note of an answer."""
        series = self._series.setdefault(key, Series(0, deque(maxlen=KEPT_ANSWERS)))
        series.count += 1
        series.readings.append(reading)
        self._series.move_to_end(key)
        if len(self._series) > KEPT_SERIES:
            self._series.popitem(last=False)

    def series(self, model: str | None = None, persona: str | None = None) -> Iterator[tuple[SeriesKey, Series]]:
        """The series of one model or persona, or all; the one used last comes first."""
        for key, series in reversed(self._series.items()):
            if model in (None, key.model) and persona in (None, key.persona):
                yield key, series

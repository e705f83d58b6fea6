"""Whether an answer makes sense: as likely, as varied and as long as a model's own ordinary answers are.

An answer that the model finds unlikely under every instruction is gibberish; one that it finds very likely may go round
in circles, which counting sees. Knows nothing of traits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.steering.judge.reading import AnswerEvidence

USUAL = 5  # percent of ordinary answers that lie beyond the usual range, on the side that is suspicious
LONGEST = 2.0  # times the longest ordinary answer: up to there an answer is not too long


@dataclass(frozen=True)
class Slope:
    """A score that is 100 from `full` on, 0 from `nothing` on, and straight in between; `full` may be the larger or the
    smaller."""

    full: float
    nothing: float

    def __call__(self, value: float) -> float:
        return float(np.interp((value - self.nothing) / (self.full - self.nothing), (0.0, 1.0), (0.0, 100.0)))


@dataclass(frozen=True)
class Coherence:
    """A score from 0 to 100: that of the worst of four marks. An answer without a token has 0."""

    best: Slope
    distinct: Slope
    density: Slope
    n_tokens: Slope

    def __call__(self, reading: AnswerEvidence) -> float:
        if not reading.n_tokens:
            return 0.0
        return min(
            self.best(reading.best),
            self.distinct(reading.distinct),
            self.density(reading.density),
            self.n_tokens(reading.n_tokens),
        )


def usual_coherence(readings: Sequence[AnswerEvidence]) -> Coherence:
    """Coherence by what is usual in a model's ordinary answers, which have a token at least.

    The usual range of each mark begins at the fifth percentile of the ordinary answers' marks. Below it the score
    falls: of the log-probability to 0 as far below as the median is above, twice; of the distinct runs and the
    compressed size to 0 at half of it; of the length from twice the longest to 0 at four times that.
    """
    best, distinct, density = (
        np.array([getattr(reading, name) for reading in readings]) for name in ("best", "distinct", "density")
    )
    low = float(np.percentile(best, USUAL))
    longest = LONGEST * max(reading.n_tokens for reading in readings)
    usual_distinct, usual_density = (float(np.percentile(values, USUAL)) for values in (distinct, density))
    return Coherence(
        best=Slope(low, low - 2 * max(float(np.median(best)) - low, 1e-6)),
        distinct=Slope(usual_distinct, usual_distinct / 2),
        density=Slope(usual_density, usual_density / 2),
        n_tokens=Slope(longest, 2 * longest),
    )

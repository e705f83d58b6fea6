"""Whether an answer came to an end of its own. Knows tokens, and nothing of what they say."""

import numpy as np
import numpy.typing as npt

from proxy.engines.blocking import Completion

TIMES = 3  # a run of tokens that is said so often, one after the other, is a loop
MIN_TOKENS = 16  # of all the repeats together: a laugh or a list of three is none
STRETCH = 32  # tokens that are looked at together for runs that come again, changed a little or with others between
RUN = 3  # tokens of such a run
REPEATED = 0.25  # share of runs that were said in the stretch before, from which on it circles; unsteered: 0.2 at most


def unfinished(completion: Completion) -> bool:
    """Whether an answer was cut off at its longest, or goes round in circles."""
    return completion.finish_reason == "length" or loops(completion.token_ids)


def loops(token_ids: list[int]) -> bool:
    """Whether an answer goes round in circles: some run of tokens is repeated without a break, `TIMES` times and over
    `MIN_TOKENS` tokens at least, or much of a stretch was said in it before."""
    ids = np.array(token_ids)
    if any(_repeats(ids, period) for period in range(1, len(ids) // TIMES + 1)):
        return True
    return repeated(token_ids) >= REPEATED


def repeated(token_ids: list[int]) -> float:
    """The largest share, over all stretches of an answer, of the runs of `RUN` tokens that were said in the stretch
    before; 0 of an answer that is shorter than a stretch of `MIN_TOKENS`."""
    if len(token_ids) < MIN_TOKENS:
        return 0.0
    runs = [tuple(token_ids[at : at + RUN]) for at in range(len(token_ids) - RUN + 1)]
    size = min(STRETCH, len(token_ids)) - RUN + 1
    return max(1 - len(set(runs[at : at + size])) / size for at in range(len(runs) - size + 1))


def _repeats(ids: npt.NDArray[np.int64], period: int) -> bool:
    """Whether a run of so many tokens is repeated often enough."""
    same = ids[period:] == ids[:-period]
    needed = max(TIMES * period, MIN_TOKENS) - period
    return bool(np.count_nonzero(same) >= needed and _longest(same) >= needed)  # most answers are done with by counting


def _longest(same: npt.NDArray[np.bool_]) -> int:
    """How long the longest stretch of True is."""
    breaks = np.flatnonzero(np.concatenate(([True], ~same, [True])))
    return int(np.diff(breaks).max()) - 1

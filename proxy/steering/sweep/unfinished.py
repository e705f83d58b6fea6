"""Whether an answer came to an end of its own. Knows tokens, and nothing of what they say."""

import numpy as np
import numpy.typing as npt

from proxy.engines.blocking import Completion

TIMES = 3  # a run of tokens that is said so often, one after the other, is a loop
MIN_TOKENS = 16  # of all the repeats together: a laugh or a list of three is none


def unfinished(completion: Completion) -> bool:
    """Whether an answer was cut off at its longest, or goes round in circles."""
    return completion.finish_reason == "length" or loops(completion.token_ids)


def loops(token_ids: list[int]) -> bool:
    """Whether some run of tokens is repeated without a break, `TIMES` times and over `MIN_TOKENS` tokens at least."""
    ids = np.array(token_ids)
    return any(_repeats(ids, period) for period in range(1, len(ids) // TIMES + 1))


def _repeats(ids: npt.NDArray[np.int64], period: int) -> bool:
    """Whether a run of so many tokens is repeated often enough."""
    same = ids[period:] == ids[:-period]
    needed = max(TIMES * period, MIN_TOKENS) - period
    return bool(np.count_nonzero(same) >= needed and _longest(same) >= needed)  # most answers are done with by counting


def _longest(same: npt.NDArray[np.bool_]) -> int:
    """How long the longest stretch of True is."""
    breaks = np.flatnonzero(np.concatenate(([True], ~same, [True])))
    return int(np.diff(breaks).max()) - 1

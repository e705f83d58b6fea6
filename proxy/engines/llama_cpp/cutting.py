"""Where a prompt is cut into steps so that reading it comes out the same to the last bit each time: at places that the
text before them alone decides. Texts that begin alike are then cut alike, as far as they do.

Knows nothing of contexts or steps.
"""

from bisect import bisect_right
from collections.abc import Sequence, Set

LEAST = 16  # tokens of a piece that ends at a marker


def piece_ends(prompt: Sequence[int], markers: Set[int], most: int) -> list[int]:
    """How many tokens of a prompt have been read after each of its pieces but the last, ascending. A piece has at most
    so many tokens. It ends behind a marker, such as one between messages, where it has enough of them: what
    conversations have in common, a system prompt or earlier turns, mostly ends there."""
    ends, begin = [], 0
    for end, token in enumerate(prompt[:-1], 1):
        length = end - begin
        if length == most or (length >= LEAST and token in markers):
            ends.append(end)
            begin = end
    return ends


def last_end(ends: Sequence[int], length: int) -> int:
    """The last of the ends that is not behind `length`; 0 before the first."""
    at = bisect_right(ends, length)
    return ends[at - 1] if at else 0

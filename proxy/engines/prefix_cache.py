"""Keys and values of prompts that were read before, for later prompts that begin alike.

Each is kept under a key that tells what was done to its tokens while they were read, and found under that key alone:
what one request's steering left in them never reaches another's. Knows nothing of plans, models or requests.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from proxy.engines.kv_cache import KeyValues

MIN_TOKENS = 16  # below it a copy costs as much as reading the tokens again

Tokens = npt.NDArray[np.int64]


class PrefixCache:
    """Holds up to `max_bytes`; what was not asked for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: list[tuple[str, Tokens, KeyValues]] = []  # least recently used first
        self._bytes = 0

    def longest(self, key: str, prompt: Sequence[int]) -> KeyValues:
        """The keys and values of the longest known beginning of `prompt`; empty when that is not worth it."""
        wanted = np.asarray(prompt, np.int64)
        best, length = -1, MIN_TOKENS - 1
        for index, (own_key, tokens, _) in enumerate(self._entries):
            if own_key == key and (shared := shared_prefix(tokens, wanted)) > length:
                best, length = index, shared
        if best < 0:
            return []
        self._entries.append(self._entries.pop(best))
        return [(keys[:, :length], values[:, :length]) for keys, values in self._entries[-1][2]]

    def store(self, key: str, prompt: Sequence[int], pieces: KeyValues) -> None:
        """Copy the keys and values of a prompt, in place of those of its own beginnings."""
        tokens = np.asarray(prompt, np.int64)
        size = sum(states.numel() * states.element_size() for piece in pieces for states in piece)
        if len(tokens) < MIN_TOKENS or size > self._max_bytes:
            return
        for index in reversed(range(len(self._entries))):
            own_key, own, _ = self._entries[index]
            if own_key == key and shared_prefix(own, tokens) == len(own):
                self._drop(index)
        while self._bytes + size > self._max_bytes:
            self._drop(0)
        self._entries.append((key, tokens, [(keys.clone(), values.clone()) for keys, values in pieces]))
        self._bytes += size

    def clear(self) -> None:
        """Give all memory back."""
        self._entries.clear()
        self._bytes = 0

    def _drop(self, index: int) -> None:
        _, _, pieces = self._entries.pop(index)
        self._bytes -= sum(states.numel() * states.element_size() for piece in pieces for states in piece)


def shared_prefix(first: Tokens, second: Tokens) -> int:
    """How many tokens two texts have in common at their beginning."""
    length = min(len(first), len(second))
    different = np.nonzero(first[:length] != second[:length])[0]
    return int(different[0]) if len(different) else length

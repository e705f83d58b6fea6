"""Texts that had to leave a context's memory: what it held of them, for later prompts that begin alike.

Knows nothing of plans or requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engines.llama_cpp.context import ByteArray

MOST_BYTES = 2**30
_MOST_TEXTS = 64


@dataclass(eq=False)
class ShelvedText:
    """What a context held of some tokens, which were read under `key`. The first `settled` of them are as reading them
    alone leaves them, to the last bit."""

    key: str
    tokens: list[int]
    settled: int
    state: ByteArray

    def usable(self, key: str, wanted: Sequence[int], *, settled: bool) -> int:
        """How many of its first tokens are those wanted; of those that are settled, if only they are asked for."""
        if key != self.key:
            return 0
        return common_length(self.tokens[: self.settled] if settled else self.tokens, wanted)


class Shelf:
    """Holds texts of up to `most_tokens` in all, and up to `most_bytes`; what was not asked for longest goes first."""

    def __init__(self, most_tokens: int, most_bytes: int = MOST_BYTES) -> None:
        self._most_tokens = most_tokens
        self._most_bytes = most_bytes
        self._texts: list[ShelvedText] = []  # least recently used first

    @property
    def n_bytes(self) -> int:
        """What it holds. Any thread may ask."""
        return sum(len(text.state) for text in list(self._texts))

    def put(self, text: ShelvedText) -> None:
        """Keep a text, in place of those that are its own beginnings. One that is too large alone is not kept."""
        if self._too_much([text]):
            return
        self._texts = [old for old in self._texts if not _covered(old, text)] + [text]
        while self._too_much(self._texts):
            del self._texts[0]

    def _too_much(self, texts: Sequence[ShelvedText]) -> bool:
        n_tokens, n_bytes = sum(len(text.tokens) for text in texts), sum(len(text.state) for text in texts)
        return len(texts) > _MOST_TEXTS or n_tokens > self._most_tokens or n_bytes > self._most_bytes

    def best(self, key: str, wanted: Sequence[int], *, settled: bool = False) -> ShelvedText | None:
        """The text that begins with most of the tokens wanted; None where none does at all."""
        found = max(self._texts, key=lambda text: text.usable(key, wanted, settled=settled), default=None)
        if found is None or not found.usable(key, wanted, settled=settled):
            return None
        self._texts.remove(found)
        self._texts.append(found)
        return found

    def clear(self) -> None:
        """Give all memory back."""
        self._texts.clear()


def _covered(old: ShelvedText, new: ShelvedText) -> bool:
    return old.settled <= new.settled and new.usable(old.key, old.tokens, settled=False) == len(old.tokens)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginning: by halves, because comparing slices is fast."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle - 1)
    return low

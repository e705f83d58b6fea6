"""Keys and values of prompts that were read before, for later prompts that begin alike.

Each is kept under a key that tells what was done to its tokens while they were read, and found under that key alone:
what one request's steering left in them never reaches another's. Knows nothing of plans, models or requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from proxy.engines.transformers.kv_cache import KeyValues

BLOCK_TOKENS = 16  # prompts are compared by so many tokens; fewer cost as much to copy as to read again


@dataclass(eq=False)
class _Entry:
    key: str
    tokens: list[int]  # whole blocks
    pieces: KeyValues

    @property
    def n_bytes(self) -> int:
        return _n_bytes(self.pieces)


@dataclass(eq=False)
class _Node:
    """A beginning, one block longer than its parent's. `entries` are those that begin so, in the order they came."""

    children: "dict[tuple[int, ...], _Node]" = field(default_factory=dict)
    entries: dict[_Entry, None] = field(default_factory=dict)


class PrefixCache:
    """Holds up to `max_bytes`; what was not asked for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._roots: dict[str, _Node] = {}
        self._entries: dict[_Entry, None] = {}  # least recently used first
        self._bytes = 0

    @property
    def n_bytes(self) -> int:
        """What it holds. Any thread may ask."""
        return self._bytes

    def longest(self, key: str, prompt: Sequence[int]) -> KeyValues:
        """The keys and values of the longest known beginning of `prompt`, in whole blocks; empty when there is none."""
        path = self._known(key, prompt)
        if not path:
            return []
        entry = next(reversed(path[-1].entries))
        self._entries[entry] = self._entries.pop(entry)
        length = len(path) * BLOCK_TOKENS
        return [(keys[:, :length], values[:, :length]) for keys, values in entry.pieces]

    def store(self, key: str, prompt: Sequence[int], pieces: KeyValues) -> None:
        """Copy the keys and values of a prompt, where some block of it is not there yet, in place of those of its own
        beginnings."""
        blocks = list(_blocks(prompt))
        known = self._known(key, prompt)
        length = len(blocks) * BLOCK_TOKENS
        pieces = [(keys[:, :length], values[:, :length]) for keys, values in pieces]
        if len(blocks) == len(known) or _n_bytes(pieces) > self._max_bytes:
            return
        for depth, node in enumerate(known, 1):
            for entry in [entry for entry in node.entries if len(entry.tokens) == depth * BLOCK_TOKENS]:
                self._drop(entry)
        entry = _Entry(key, list(prompt[:length]), [(keys.clone(), values.clone()) for keys, values in pieces])
        self._bytes += entry.n_bytes
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[entry] = None
        node = self._roots.setdefault(key, _Node())
        for block in blocks:
            node = node.children.setdefault(block, _Node())
            node.entries[entry] = None

    def clear(self) -> None:
        """Give all memory back."""
        self._roots.clear()
        self._entries.clear()
        self._bytes = 0

    def _known(self, key: str, prompt: Sequence[int]) -> list[_Node]:
        """The beginnings of `prompt` that are there, one block longer each."""
        path: list[_Node] = []
        node = self._roots.get(key)
        for block in _blocks(prompt):
            node = node.children.get(block) if node is not None else None
            if node is None:
                break
            path.append(node)
        return path

    def _drop(self, entry: _Entry) -> None:
        del self._entries[entry]
        self._bytes -= entry.n_bytes
        node = self._roots[entry.key]
        for block in _blocks(entry.tokens):
            child = node.children[block]
            del child.entries[entry]
            if not child.entries:  # nor has any longer beginning of it an entry
                del node.children[block]
                break
            node = child
        if not self._roots[entry.key].children:
            del self._roots[entry.key]


def _blocks(tokens: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The whole ones."""
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        yield tuple(tokens[end - BLOCK_TOKENS : end])


def _n_bytes(pieces: KeyValues) -> int:
    return sum(states.numel() * states.element_size() for piece in pieces for states in piece)

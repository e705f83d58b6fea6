"""Reading many texts through a model, a small batch at a time and long ones in chunks, so that running answers wait
for no more than one chunk. Knows nothing of what is read from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.engines.transformers.kv_cache import RowCache
from proxy.engines.transformers.runner import CHUNK_TOKENS, ModelRunner


@dataclass
class Chunk:
    """The next forward: of the texts `members`, the tokens from `start` on. `last` tells that nothing follows it."""

    members: list[int]
    rows: list[list[int]]
    start: int
    last: bool
    cache: RowCache

    @property
    def starts(self) -> list[int]:
        return [self.start] * len(self.rows)


def chunks(runner: ModelRunner, texts: Sequence[Sequence[int]]) -> Iterator[Chunk]:
    """Every token of every text once, each text's in order. A chunk has to be run before the next is asked for."""
    for members in groups([len(text) for text in texts]):
        cache = runner.new_cache()
        longest = max(len(texts[member]) for member in members)
        for start in range(0, longest, CHUNK_TOKENS):
            rows = [list(texts[member][start : start + CHUNK_TOKENS]) for member in members]
            yield Chunk(members, rows, start, start + CHUNK_TOKENS >= longest, cache)


def groups(lengths: Sequence[int]) -> list[list[int]]:
    """The indices of `lengths`, shortest first, in groups that padded fit into one forward; a long one is alone."""
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if found and (len(found[-1]) + 1) * lengths[index] <= CHUNK_TOKENS:
            found[-1].append(index)
        else:
            found.append([index])
    return found

"""The keys and values of several sequences of different lengths, one row each, and the masks that go with them.

Rows sit side by side without gaps, so that a step over all of them reads plain slices: a row that leaves is replaced
by the last one. Memory grows by doubling and is given back by dropping the cache. Knows nothing of requests, tokens
or steering.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.cache_utils import Cache

from proxy.errors import SetupError

_MIN_LENGTH = 128  # tokens; below this a row's memory is not worth saving


KeyValues = list[tuple[torch.Tensor, torch.Tensor]]  # by block, each float[kv_heads, n_tokens, head_dim]


class RowCache(Cache):
    """Keys and values of `n_rows` sequences for every block, each float[capacity, kv_heads, length, head_dim].

    `seat` says where the next forward writes; attention then sees positions below `seen`, and its mask has to hide
    what a row has not written yet. Memory never written is zero, because a masked NaN still poisons a sum.
    """

    def __init__(self, n_blocks: int) -> None:
        super().__init__(layers=[])
        self._keys: list[torch.Tensor | None] = [None] * n_blocks
        self._values: list[torch.Tensor | None] = [None] * n_blocks
        self.n_rows = 0
        self.moved = 0  # how often memory was replaced by more of it: what knows its address has to look again
        self.seen = 0
        self._shown_rows = 0
        self._start: int | None = 0
        self._at: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and positions there is memory for."""
        held = self._keys[0]
        return (0, 0) if held is None else (held.shape[0], held.shape[2])

    def seat(self, positions: torch.Tensor, seen: int, start: int | None = None) -> None:
        """The next forward brings tokens at `positions` int64[n_rows, n_new], all below `seen`; from `start` on in
        every row, when that is given."""
        self._shown_rows, self.seen, self._start = len(positions), seen, start
        if start is None:
            self._at = torch.arange(len(positions), device=positions.device)[:, None], positions

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model's attention: writes the new keys and values, returns all that may be looked at."""
        return (
            self._write(self._keys, layer_idx, key_states),
            self._write(self._values, layer_idx, value_states),
        )

    def _write(self, store: list[torch.Tensor | None], block: int, states: torch.Tensor) -> torch.Tensor:
        held = self._room(store, block, states, self._shown_rows, self.seen)
        if self._start is not None:
            held[: self._shown_rows, :, self._start : self._start + states.shape[2]] = states
        else:
            assert self._at is not None
            rows, positions = self._at
            held[rows, :, positions] = states.transpose(1, 2)
        return held[: self._shown_rows, :, : self.seen]

    def reserve(self, n_rows: int, length: int) -> None:
        """Make room beforehand in every block that has been written to."""
        for store in (self._keys, self._values):
            for block, held in enumerate(store):
                if held is not None:
                    self._room(store, block, held, n_rows, length)

    def append_row(self, other: "RowCache", row: int, length: int) -> None:
        """Copy the first `length` positions of a row of another cache behind this one's rows."""
        self.write_row(self.n_rows, other.read_row(row, length))
        self.n_rows += 1

    def read_row(self, row: int, length: int) -> KeyValues:
        """The first `length` positions of a row: views, which change with it."""
        return [
            (keys[row, :, :length], values[row, :, :length])
            for keys, values in zip(self._keys, self._values, strict=True)
            if keys is not None and values is not None
        ]

    def write_row(self, row: int, pieces: KeyValues) -> None:
        """Copy what was read elsewhere to the beginning of a row."""
        for block, piece in enumerate(pieces):
            for store, states in zip((self._keys, self._values), piece, strict=True):
                held = self._room(store, block, states[None], row + 1, states.shape[1])
                held[row, :, : states.shape[1]] = states

    def remove_row(self, row: int) -> None:
        """Drop a row; the last one takes its place."""
        last = self.n_rows - 1
        for store in (self._keys, self._values):
            for held in store:
                if held is not None:
                    if row != last:
                        held[row] = held[last]
                    held[last] = 0
        self.n_rows = last

    def _room(
        self, store: list[torch.Tensor | None], block: int, like: torch.Tensor, n_rows: int, length: int
    ) -> torch.Tensor:
        held = store[block]
        larger = _with_room(held, like, n_rows, length)
        if larger is not held:
            store[block] = larger
            self.moved += 1
        return larger

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.seen

    def is_initialized(self) -> bool:  # type: ignore[override]  # the base class asks its layers, of which there are none
        return True


def _with_room(held: torch.Tensor | None, like: torch.Tensor, n_rows: int, length: int) -> torch.Tensor:
    """`held`, or a larger zero-padded copy of it, with at least `n_rows` rows of `length` positions."""
    if held is not None and held.shape[0] >= n_rows and held.shape[2] >= length:
        return held
    rows, positions = (0, 0) if held is None else (held.shape[0], held.shape[2])
    if n_rows > rows:
        n_rows = max(n_rows, 2 * rows)
    if length > positions:
        length = max(length, 2 * positions, _MIN_LENGTH)
    shape = (max(n_rows, rows), like.shape[1], max(length, positions), like.shape[3])
    larger = torch.zeros(shape, dtype=like.dtype, device=like.device)
    if held is not None:
        larger[:rows, :, :positions] = held
    return larger


class Masks:
    """Makes the attention masks of one model: who may look at whom, per kind of block.

    Raises SetupError for a model with a kind of block other than full and sliding-window attention.
    """

    def __init__(self, config: PretrainedConfig, implementation: str, dtype: torch.dtype) -> None:
        kinds: Sequence[str] | None = getattr(config, "layer_types", None)
        window: int | None = getattr(config, "sliding_window", None)
        if kinds is None:
            self._windows = {"": window}
        else:
            if strange := set(kinds) - {"full_attention", "sliding_attention"}:
                raise SetupError(f"models with {', '.join(sorted(strange))} blocks are not supported")
            self._windows = {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}
        self._additive = dtype if implementation == "eager" else None

    def __call__(self, positions: torch.Tensor, seen: int) -> torch.Tensor | dict[str, torch.Tensor]:
        """Masks [n_rows, 1, n_new, seen] for queries at `positions` int64[n_rows, n_new]; a dict by kind of block when
        the model has several."""
        masks = {kind: self._mask(positions, seen, window) for kind, window in self._windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, positions: torch.Tensor, seen: int, window: int | None) -> torch.Tensor:
        query = positions[:, None, :, None]
        key = torch.arange(seen, device=positions.device)
        visible = key <= query
        if window is not None:
            visible &= key > query - window
        if self._additive is None:
            return visible
        hidden = torch.zeros(visible.shape, dtype=self._additive, device=visible.device)
        return hidden.masked_fill_(~visible, torch.finfo(self._additive).min)

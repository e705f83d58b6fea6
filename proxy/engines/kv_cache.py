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


class RowCache(Cache):
    """Keys and values of `n_rows` sequences for every block, each float[capacity, kv_heads, length, head_dim].

    `seat` says where the next forward writes; attention then sees positions below `seen`, and its mask has to hide
    what a row has not written yet. Unwritten memory is zero, because a masked NaN still poisons a sum.
    """

    def __init__(self, n_blocks: int) -> None:
        super().__init__(layers=[])
        self._keys: list[torch.Tensor | None] = [None] * n_blocks
        self._values: list[torch.Tensor | None] = [None] * n_blocks
        self.n_rows = 0
        self.seen = 0
        self._start: int | None = 0
        self._positions: torch.Tensor | None = None
        self._row_index: torch.Tensor | None = None

    def seat(self, n_rows: int, start: int, n_new: int) -> None:
        """The next forward brings `n_new` tokens for each of `n_rows` rows, all from position `start` on."""
        self.n_rows, self.seen = n_rows, start + n_new
        self._start, self._positions = start, None

    def seat_each(self, positions: torch.Tensor, seen: int) -> None:
        """The next forward brings one token a row, at `positions` int64[n_rows], all below `seen`."""
        if self._row_index is None or len(self._row_index) != len(positions):
            self._row_index = torch.arange(len(positions), device=positions.device)
        self.n_rows, self.seen = len(positions), seen
        self._start, self._positions = None, positions

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model's attention: writes the new keys and values, returns all that may be looked at."""
        return (
            self._write(self._keys, layer_idx, key_states),
            self._write(self._values, layer_idx, value_states),
        )

    def _write(self, store: list[torch.Tensor | None], block: int, states: torch.Tensor) -> torch.Tensor:
        held = _with_room(store[block], states, self.n_rows, self.seen)
        store[block] = held
        if self._positions is None:
            held[: self.n_rows, :, self._start : self.seen] = states
        else:
            held[self._row_index, :, self._positions] = states[:, :, 0]
        return held[: self.n_rows, :, : self.seen]

    def append_row(self, other: "RowCache", row: int, length: int) -> None:
        """Copy the first `length` positions of a row of another cache behind this one's rows."""
        for mine, theirs in ((self._keys, other._keys), (self._values, other._values)):
            for block, source in enumerate(theirs):
                if source is not None:
                    piece = source[row : row + 1, :, :length]
                    held = _with_room(mine[block], piece, self.n_rows + 1, length)
                    held[self.n_rows, :, :length] = piece[0]
                    mine[block] = held
        self.n_rows += 1

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

"""Rows keep their own keys and values while others come and go; masks show each row its own past."""

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.transformers.kv_cache import Masks, RowCache

N_BLOCKS, HEADS, SIZE = 2, 2, 3


def states(n_rows: int, n_new: int) -> torch.Tensor:
    return torch.randn(n_rows, HEADS, n_new, SIZE)


class Reference:
    """The same cache as plain lists: per row, per block, everything written so far."""

    def __init__(self) -> None:
        self.rows: list[list[torch.Tensor]] = []

    def add(self, cache: RowCache, length: int) -> None:
        other = RowCache(N_BLOCKS)
        other.seat(torch.arange(length).expand(2, length), length, 0)
        written = [states(2, length) for _ in range(N_BLOCKS)]
        for block, state in enumerate(written):
            other.update(state, -state, block)
        cache.append_row(other, 1, length)
        self.rows.append([state[1] for state in written])

    def step(self, cache: RowCache) -> None:
        lengths = [row[0].shape[1] for row in self.rows]
        cache.seat(torch.tensor(lengths)[:, None], max(lengths) + 1)
        for block in range(N_BLOCKS):
            new = states(len(self.rows), 1)
            keys, values = cache.update(new, -new, block)
            for index, row in enumerate(self.rows):
                row[block] = torch.cat((row[block], new[index]), dim=1)
                assert torch.equal(keys[index, :, : row[block].shape[1]], row[block])
                assert not keys[index, :, row[block].shape[1] :].any()
            assert torch.equal(values, -keys)

    def remove(self, cache: RowCache, row: int) -> None:
        cache.remove_row(row)
        self.rows[row] = self.rows[-1]
        self.rows.pop()


@given(st.lists(st.one_of(st.integers(1, 300), st.sampled_from(["step", "leave 0", "leave last"])), max_size=14))
@settings(max_examples=60)
def test_rows_when_others_come_and_go_then_keep_what_was_written(moves: list[int | str]) -> None:
    cache, reference = RowCache(N_BLOCKS), Reference()
    for move in moves:
        if isinstance(move, int):
            reference.add(cache, move)
        elif reference.rows and move == "step":
            reference.step(cache)
        elif reference.rows:
            reference.remove(cache, 0 if move == "leave 0" else len(reference.rows) - 1)
        assert cache.n_rows == len(reference.rows)


def test_a_prompt_when_written_in_chunks_then_all_of_it_is_there() -> None:
    cache, pieces = RowCache(1), [states(1, n) for n in (100, 100, 7)]
    start = 0
    for piece in pieces:
        positions = torch.arange(start, start + piece.shape[2])[None]
        cache.seat(positions, start + piece.shape[2], start)
        keys, _ = cache.update(piece, piece, 0)
        start += piece.shape[2]
    assert torch.equal(keys, torch.cat(pieces, dim=2))


def test_rows_when_written_from_positions_of_their_own_then_each_continues_where_it_was() -> None:
    cache, begun, more = RowCache(1), states(2, 5), states(2, 3)
    cache.write_row(0, [(begun[0], -begun[0])])
    cache.write_row(1, [(begun[1, :, :2], -begun[1, :, :2])])
    cache.seat(torch.tensor([[5, 6, 7], [2, 3, 4]]), 8)
    keys, values = cache.update(more, -more, 0)
    assert torch.equal(keys[0], torch.cat((begun[0], more[0]), dim=1))
    assert torch.equal(keys[1, :, :5], torch.cat((begun[1, :, :2], more[1]), dim=1))
    assert torch.equal(values, -keys)


def test_masks_when_blocks_slide_then_show_the_last_window_and_never_the_future() -> None:
    positions = torch.tensor([[4], [1]])
    config = SimpleNamespace(layer_types=["sliding_attention", "full_attention"], sliding_window=2)
    masks = Masks(config, "sdpa", torch.float32)(positions, 6)  # type: ignore[arg-type]
    assert isinstance(masks, dict)
    assert masks["full_attention"][:, 0, 0].int().tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]]
    assert masks["sliding_attention"][:, 0, 0].int().tolist() == [[0, 0, 0, 1, 1, 0], [1, 1, 0, 0, 0, 0]]
    one = Masks(SimpleNamespace(sliding_window=2), "eager", torch.float16)(positions, 6)  # type: ignore[arg-type]
    assert isinstance(one, torch.Tensor) and one.dtype == torch.float16
    assert torch.equal(one == 0, masks["sliding_attention"])

"""Where prompts are cut: at places that what comes before them decides."""

import numpy as np
import pytest

from proxy.engines.llama_cpp.cutting import last_end, piece_ends

MARKERS = frozenset((0,))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([1] * 64, []),
        ([1] * 65, [64]),
        ([1] * 200, [64, 128, 192]),
        ([*[1] * 19, 0, *[1] * 70], [20, 84]),
        ([*[1] * 19, 0, 0, *[1] * 14, 0, *[1] * 9], [20, 36]),
        ([0, *[1] * 14, 0], []),
        ([1] * 19 + [0], []),
    ],
)
def test_piece_ends_then_whole_pieces_and_markers_behind_enough_tokens(prompt: list[int], expected: list[int]) -> None:
    assert piece_ends(prompt, MARKERS, 64) == expected


def test_piece_ends_when_texts_begin_alike_then_they_are_cut_alike_as_far_as_they_do() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        first, second = ([int(token) for token in rng.integers(0, 12, 300)] for _ in range(2))
        common = int(rng.integers(1, 290))
        second[:common] = first[:common]
        one, other = (piece_ends(text, MARKERS, 64) for text in (first, second))
        assert [end for end in one if end <= common] == [end for end in other if end <= common]


@pytest.mark.parametrize(("length", "expected"), [(0, 0), (19, 0), (20, 20), (83, 20), (84, 84), (500, 84)])
def test_last_end_then_not_behind_the_length(length: int, expected: int) -> None:
    assert last_end([20, 84], length) == expected

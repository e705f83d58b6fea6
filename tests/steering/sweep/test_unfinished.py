"""Answers that came to no end: cut off, or going round in circles."""

import pytest

from proxy.engines.blocking import Completion
from proxy.steering.sweep.unfinished import loops, unfinished


@pytest.mark.parametrize(
    ("token_ids", "expected"),
    [
        ([], False),
        (list(range(60)), False),
        ([7] * 15, False),  # a laugh
        ([7] * 16, True),
        ([1, 2, 3, *[4, 5, 6, 7, 8, 9] * 3, 1, 2], True),  # it found out of it again
        ([4, 5, 6, 7, 8, 9] * 2, False),
        ([*[4, 5, 6] * 4, 1, *[4, 5, 6] * 4], True),  # with something between
        ([*range(20), *range(5), *range(20, 35)], False),  # one phrase comes again
        ([*range(100, 200), *[n for k in range(6) for n in (1, 2, 3, 4, 5, 50 + k)]], True),  # only in the end
        ([1, 2, 3, 4, 5] * 2, False),  # too short to say
    ],
)
def test_loops_when_a_run_of_tokens_is_repeated_often_enough_then_it_is_one(
    token_ids: list[int], expected: bool
) -> None:
    assert loops(token_ids) is expected


def test_unfinished_when_an_answer_was_cut_off_then_it_is() -> None:
    assert unfinished(Completion("a", token_ids=[1], finish_reason="length"))
    assert not unfinished(Completion("a", token_ids=[1]))

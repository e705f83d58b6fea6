"""Every answer of a run has a seed of its own, which every engine takes as it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import SetupError
from proxy.steering.seeds import NUMBERS, SAMPLES, SEEDS, Purpose, seed_of

ANSWERS = st.tuples(st.sampled_from(Purpose), st.integers(0, NUMBERS - 1), st.integers(0, SAMPLES - 1))
FIRST, LAST = (Purpose(0), 0, 0), (Purpose(max(Purpose)), NUMBERS - 1, SAMPLES - 1)


@given(run=st.integers(), one=ANSWERS, other=ANSWERS)
@example(run=0, one=FIRST, other=LAST)
@example(run=0, one=(Purpose(0), NUMBERS - 1, 0), other=(Purpose(0), 0, 1))
@example(run=0, one=(Purpose(0), NUMBERS - 1, SAMPLES - 1), other=(Purpose(1), 0, 0))
def test_seed_of_when_two_answers_of_a_run_differ_then_so_do_their_seeds(
    run: int, one: tuple[Purpose, int, int], other: tuple[Purpose, int, int]
) -> None:
    assert (seed_of(run, *one) == seed_of(run, *other)) == (one == other)


@given(run=st.integers(), answer=ANSWERS)
def test_seed_of_then_every_engine_takes_it_as_it_is(run: int, answer: tuple[Purpose, int, int]) -> None:
    assert 0 <= seed_of(run, *answer) < SEEDS <= 2**32 - 1  # llama.cpp keeps 2**32 - 1 for a fresh one


def test_purposes_then_all_of_their_ranges_fit_beside_each_other() -> None:
    assert len(set(Purpose)) * NUMBERS * SAMPLES <= SEEDS and sorted(Purpose) == list(range(len(Purpose)))


def test_seed_of_when_the_run_is_another_then_no_answer_has_the_same_seed_and_neighbours_do_not_overlap() -> None:
    starts = sorted(seed_of(run, *FIRST) for run in range(100))
    assert len(set(starts)) == 100
    assert all(later - earlier > 1000 for earlier, later in zip(starts, starts[1:], strict=False))


@pytest.mark.parametrize(("number", "sample"), [(-1, 0), (NUMBERS, 0), (0, -1), (0, SAMPLES)])
def test_seed_of_when_there_are_too_many_answers_then_it_says_so(number: int, sample: int) -> None:
    with pytest.raises(SetupError, match=f"answer {sample} to number {number}"):
        seed_of(0, Purpose.SWEEPING, number, sample)

"""How far work is over all its stages, and how long the rest takes, by what was really done."""

import pytest

from proxy.jobs.estimate import Estimate


class Watched:
    """An estimate of work in stages of 30, 0 and 10, with a clock of its own, and what it reported last."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.last: tuple[str, float, float | None] = ("", 0.0, None)
        self.estimate = Estimate({"answering": 30, "nothing": 0, "reading": 10}, self.report, lambda: self.now_s)

    def report(self, doing: str, fraction: float, left_s: float | None) -> None:
        self.last = doing, fraction, left_s

    def after(self, seconds: float, stage: str, done: int, total: int) -> tuple[str, float, float | None]:
        self.now_s += seconds
        self.estimate(stage, done, total)
        return self.last


def test_estimate_when_nothing_was_done_then_it_is_unknown() -> None:
    assert Watched().after(5, "answering", 0, 60) == ("answering", 0.0, None)


def test_estimate_when_some_was_done_then_the_rest_takes_as_long_in_proportion() -> None:
    watched = Watched()
    watched.after(5, "answering", 0, 60)
    assert watched.after(10, "answering", 20, 60) == pytest.approx(("answering", 0.25, 30))
    assert watched.after(10, "answering", 60, 60) == pytest.approx(("answering", 0.75, 20 / 30 * 10))


def test_estimate_when_parts_were_there_before_then_they_do_not_count_as_fast() -> None:
    watched = Watched()
    watched.after(0, "answering", 40, 60)
    doing, fraction, left_s = watched.after(10, "answering", 50, 60)
    assert fraction == pytest.approx(25 / 40) and left_s == pytest.approx(30)
    assert doing == "answering"


def test_estimate_when_a_stage_is_empty_or_smaller_than_planned_then_it_counts_as_whole() -> None:
    watched = Watched()
    assert watched.after(0, "answering", 60, 60)[1] == 0.75
    assert watched.after(0, "nothing", 0, 0)[1] == 0.75
    watched.after(0, "reading", 0, 3)
    assert watched.after(1, "reading", 3, 3) == ("reading", 1.0, 0.0)

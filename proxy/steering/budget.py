"""Budgets: how much of everything is done to make a measured vector, so that it takes minutes where it may.

Knows numbers only: no model, and nothing of how the work is done.
"""

from dataclasses import dataclass
from typing import Literal

BudgetName = Literal["quick", "standard", "thorough"]

THOROUGH: BudgetName = "thorough"
LIMITED: tuple[BudgetName, ...] = ("quick", "standard")
BUDGET_NAMES: tuple[BudgetName, ...] = (*LIMITED, THOROUGH)


@dataclass(frozen=True)
class Budget:
    """What is done within a limited budget.

    `answer_tokens`: at most, of every answer. `temperature`: of rollouts. `questions`: extract questions asked, each
    `rollouts` times under each pole's instruction and once under none. `held_out`: evaluate questions answered for
    each pole to validate the judge.

    `texts`: questions whose answers compare places, at the relative `doses`. `coarse`: blocks tried first. `places`:
    of the best, tried by generating, at `raced_doses`, on `race` questions at a time, `rounds` times, those left out
    that are behind.

    `coefficients`, `curve_questions` in either half, and `samples` to each: the curve. `interval`: about how far its
    95 % intervals reach to either side, in points of 100.
    """

    name: BudgetName
    answer_tokens: int
    temperature: float
    questions: int
    rollouts: int
    held_out: int
    texts: int
    doses: tuple[float, ...]
    coarse: int
    places: int
    raced_doses: tuple[float, ...]
    race: int
    rounds: int
    coefficients: tuple[float, ...]
    curve_questions: int
    samples: int
    interval: int


BUDGETS: dict[BudgetName, Budget] = {
    "quick": Budget(
        name="quick",
        answer_tokens=40,
        temperature=0.7,
        questions=18,
        rollouts=2,
        held_out=12,
        texts=4,
        doses=(0.3,),
        coarse=4,
        places=2,
        raced_doses=(0.15, 0.3, 0.6),
        race=5,
        rounds=1,
        coefficients=(-1.2, -0.6, 0.6, 1.2),
        curve_questions=5,
        samples=1,
        interval=25,
    ),
    "standard": Budget(
        name="standard",
        answer_tokens=56,
        temperature=0.7,
        questions=20,
        rollouts=4,
        held_out=20,
        texts=6,
        doses=(0.2, 0.4),
        coarse=8,
        places=3,
        raced_doses=(0.15, 0.3, 0.6),
        race=5,
        rounds=2,
        coefficients=(-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0),
        curve_questions=10,
        samples=1,
        interval=15,
    ),
}


def first_try(*, toy: bool) -> str:
    """What a command that is suggested to make a vector ends with: a budget, since more takes hours without a GPU, but
    for a toy."""
    return "" if toy else " --budget quick"

"""How much an evaluation asks. Knows numbers only."""

from dataclasses import dataclass

from proxy.errors import SetupError
from proxy.steering.asking import MAX_TOKENS
from proxy.steering.budget import BUDGETS, Budget, BudgetName

MAX_SAMPLES = 100
COSTED = (1.0, 1.5)  # at which facts and instructions are asked


@dataclass(frozen=True)
class Extent:
    """How much is asked within a budget: `samples` answers to each question of the trait, of at most `max_tokens`, at
    the `coefficients` of either pole, of which below 0 each is its opposite; with random directions and other traits'
    ones beside them at those that are `controlled`. So many of the `facts` and `instructions`."""

    samples: int
    max_tokens: int
    facts: int
    instructions: int
    coefficients: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    controlled: tuple[float, ...] = (1.0, 2.0)


EXTENTS: dict[BudgetName, Extent] = {
    "quick": Extent(1, BUDGETS["quick"].answer_tokens, 10, 10, (1.0, 2.0), (1.0,)),
    "standard": Extent(2, BUDGETS["standard"].answer_tokens, 60, 40),
    "thorough": Extent(4, MAX_TOKENS, 60, 40),
}


@dataclass(frozen=True)
class VectorEvaluationOptions:
    """How a vector is evaluated. Within a limited `budget` the judge is made as it is for vectors of that budget.
    `samples`: answers to each question, by default as many as the budget has. The same `seed` makes the same answers,
    on the same machine."""

    budget: BudgetName = "standard"
    samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """SetupError where a number is out of range."""
        if self.budget not in EXTENTS:
            raise SetupError(f"budget: there is no {self.budget!r}; possible: {', '.join(EXTENTS)}")
        if self.samples is not None and not 1 <= self.samples <= MAX_SAMPLES:
            raise SetupError(f"samples must be from 1 to {MAX_SAMPLES}, not {self.samples}")
        if self.seed < 0:
            raise SetupError(f"the seed must not be negative, as {self.seed} is")

    @property
    def extent(self) -> Extent:
        """How much is asked, but for the samples."""
        return EXTENTS[self.budget]

    @property
    def n_samples(self) -> int:
        """Answers to each question."""
        return self.extent.samples if self.samples is None else self.samples

    @property
    def limited(self) -> Budget | None:
        """The budget whose judge scores; None where it is thorough."""
        return BUDGETS.get(self.budget)

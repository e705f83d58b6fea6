"""Which coefficients are swept, and how many answers are asked for at each."""

import math
from dataclasses import dataclass

from proxy.errors import SetupError
from proxy.steering.asking import MAX_TOKENS
from proxy.steering.placement import N_PLACEMENT_QUESTIONS
from vector_store import SIDES, Side

MAX_SWEPT_COEFFICIENT = 4.0  # twice what a request may ask for: the strength may have been set too low by half
MAX_COEFFICIENTS = 64
MAX_SAMPLES = 100


def grid(start: float, end: float, step: float) -> tuple[float, ...]:
    """From `start` to `end`, both included, in steps. SetupError where that is no range."""
    limit = MAX_SWEPT_COEFFICIENT
    if not (step > 0 and -limit <= start <= end <= limit and (end - start) / step < MAX_COEFFICIENTS):
        raise SetupError(
            f"{start:g} to {end:g} in steps of {step:g} is no range of coefficients: it goes up, from {-limit:g} to "
            f"{limit:g} at most, in fewer than {MAX_COEFFICIENTS} steps"
        )
    count = math.floor((end - start) / step + 1e-9) + 1
    return tuple(round(start + index * step, 6) for index in range(count))


@dataclass(frozen=True)
class SweepOptions:
    """What is swept. `coefficients`: of the trait's positive pole, below 0 of the other one; 0, which is no steering,
    is always asked. `samples`: answers to each question, of at most `max_tokens`. `questions`: how many choose, and as
    many report. The same `seed` makes the same answers, on the same machine. `keep_strength`: coefficient 1 stays what
    it is, and the sweep only measures.
    """

    coefficients: tuple[float, ...] = grid(-2.0, 2.0, 0.25)
    samples: int = 4
    seed: int = 0
    questions: int = N_PLACEMENT_QUESTIONS
    max_tokens: int = MAX_TOKENS
    keep_strength: bool = False

    def __post_init__(self) -> None:
        """SetupError where a number is out of range."""
        if not any(self.coefficients) or len(self.coefficients) > MAX_COEFFICIENTS:
            raise SetupError(f"a sweep needs a coefficient besides 0, and takes {MAX_COEFFICIENTS} at most")
        for value in self.coefficients:
            if not abs(value) <= MAX_SWEPT_COEFFICIENT:
                raise SetupError(
                    f"coefficients must be from {-MAX_SWEPT_COEFFICIENT:g} to {MAX_SWEPT_COEFFICIENT:g}, not {value:g}"
                )
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise SetupError(f"samples must be from 1 to {MAX_SAMPLES}, not {self.samples}")
        if self.seed < 0:
            raise SetupError(f"the seed must not be negative, as {self.seed} is")

    @property
    def sides(self) -> list[Side]:
        """The poles that are swept."""
        return [side for side in SIDES if self.of(side)]

    def of(self, side: Side) -> list[float]:
        """The pole's own coefficients, all above 0, in order."""
        sign = 1 if side == "positive" else -1
        return sorted({sign * value for value in self.coefficients if sign * value > 0})

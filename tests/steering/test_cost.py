"""What a vector will cost is near to what it does cost, counted in tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from proxy.engines.base import AnswerReadings, Event, FloatArray, Generation, Plan, Rollout, Run, Span, SpanStats
from proxy.steering.budget import BUDGETS, BudgetName
from proxy.steering.cost import Cost, Speed, cost_of, cost_of_evaluation, cost_of_sweep, measure_speed
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.evaluation.run import evaluate_vector
from proxy.steering.limited import make_vector
from proxy.steering.making import ExtractionOptions
from proxy.steering.sweep import SweepOptions
from tests.steering.pretend import N_LAYERS, WORK, PretendEngine, make_trait
from tests.steering.sweep.swept import placed


class Counting(PretendEngine):
    """Counts the tokens of answers: those it made, and those it read."""

    made = 0
    read_again = 0

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        self.made += 10  # words
        return super().start(generation, on_event)

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        self.read_again += sum(len(rollout.response) for rollout in rollouts)
        return super().capture(rollouts, spans, progress)

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        self.read_again += sum(len(rollout.response) for rollout in rollouts)
        return super().score(rollouts, plans, progress)

    def read(
        self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> AnswerReadings:
        found = super().read(rollouts, blocks, progress)
        self.read_again -= sum(len(rollout.response) for rollout in rollouts)  # it is made of a capture and a score
        return found


@pytest.mark.parametrize("budget", BUDGETS)
def test_cost_when_a_vector_is_made_within_a_budget_then_it_was_told_before(budget: BudgetName) -> None:
    engine, options = Counting(0.8), ExtractionOptions(budget=budget)
    speed = measure_speed(engine, make_trait())
    expected = cost_of(make_trait(), N_LAYERS, "reading", options, speed)
    engine.made = engine.read_again = 0
    make_vector(engine, make_trait(), "reading", BUDGETS[budget], 3, WORK)
    assert expected.made == pytest.approx(engine.made, rel=0.25)
    assert expected.read + expected.passed > engine.read_again / 1.5


def test_cost_when_prompts_begin_alike_then_what_they_begin_with_is_counted_once() -> None:
    """Each instruction's beginning is counted once, however many answers are asked for under it."""
    options = [ExtractionOptions(rollouts=rollouts) for rollouts in (1, 2)]
    speed = Speed(made=1.0, read=1.0, passed=1.0, prompt=0.0, asked=300.0, length=0.0)
    once, twice = (cost_of(make_trait(), N_LAYERS, "rules", each, speed) for each in options)
    captured = 0.8 * 300 * 300  # four fifths of as many rollouts again, each read once more with all of its prompt
    assert twice.passed - once.passed == pytest.approx(captured)


def test_speed_then_probabilities_and_residuals_are_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("proxy.steering.cost.time.perf_counter", lambda: clock[0])

    class Clocked(PretendEngine):
        def score(self, *args: Any, **how: Any) -> list[FloatArray]:
            clock[0] += 3
            return super().score(*args, **how)

        def capture(self, *args: Any, **how: Any) -> dict[Span, SpanStats]:
            clock[0] += 2
            return super().capture(*args, **how)

    speed = measure_speed(Clocked(), make_trait())
    assert speed.passed == pytest.approx(1.5 * speed.read)
    assert Cost(read=100).seconds(speed) == pytest.approx(1.5 * Cost(passed=100).seconds(speed))


def test_cost_when_the_budget_is_larger_then_it_is_higher() -> None:
    speed = measure_speed(PretendEngine(), make_trait())
    costs = [
        cost_of(make_trait(), 30, "reading", ExtractionOptions(budget=budget), speed).seconds(speed)
        for budget in ("quick", "standard", "thorough")
    ]
    assert costs == sorted(costs) and costs[0] < costs[1] / 1.5 and costs[1] < costs[2] / 5


def test_cost_when_a_vector_is_evaluated_then_it_was_told_before() -> None:
    engine, options = Counting(0.8), VectorEvaluationOptions("quick")
    speed = measure_speed(engine, make_trait())
    expected = cost_of_evaluation(make_trait(), engine.info, "reading", options, speed)
    engine.made = 0
    evaluate_vector(engine, make_trait(), placed(0.6), "reading", options, WORK)
    # The answers are shorter than any limit, and other traits' directions, which are counted, are not there.
    assert expected.made == pytest.approx(engine.made, rel=0.35)


def test_cost_when_there_is_a_second_judge_then_it_costs_something() -> None:
    speed, options = measure_speed(PretendEngine(), make_trait()), VectorEvaluationOptions("quick")
    info = PretendEngine().info
    one = cost_of_evaluation(make_trait(), info, "reading", options, speed)
    two = cost_of_evaluation(make_trait(), info, "reading", options, speed, "likelihood")
    assert two.read > one.read > 0


def test_cost_of_a_sweep_when_more_coefficients_are_asked_then_it_is_higher() -> None:
    speed = measure_speed(PretendEngine(), make_trait())

    def cost(*coefficients: float) -> Cost:
        return cost_of_sweep(make_trait(), "rules", SweepOptions(coefficients), speed)

    assert cost(1.0).seconds(speed) < cost(0.5, 1.0).seconds(speed)

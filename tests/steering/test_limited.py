"""A vector within a budget: placed, calibrated and swept in one go, by a judge that was made on the way."""

import dataclasses

import pytest

from proxy.errors import SetupError
from proxy.steering import limited
from proxy.steering.budget import BUDGETS, Budget
from proxy.steering.judge import Answer, prepare
from proxy.steering.limited import (
    coarse_places,
    fine_places,
    make_vector,
    place,
    placing_stages,
    prepared,
    preparing_stages,
    race,
    stages,
)
from proxy.steering.trials import Place, Trials
from proxy.steering.work import Work
from tests.steering.pretend import N_LAYERS, WORK, PretendEngine, PretendJudge, make_trait
from vector_store import SIDES, PersonaVector

QUICK = BUDGETS["quick"]
BEST = Place(1, "last_prompt", "last_prompt", "opposite")


@pytest.fixture(scope="module")
def made() -> tuple[PersonaVector, PretendEngine]:
    engine = PretendEngine(0.8)
    return make_vector(engine, make_trait(), "reading", QUICK, 3, WORK), engine


def test_vector_when_made_within_a_budget_then_it_is_placed_calibrated_and_swept(
    made: tuple[PersonaVector, PretendEngine],
) -> None:
    vector, _ = made
    assert vector.judge is not None and vector.judge.name == "linear reading" and vector.judge.scored
    assert "budget quick: answers of at most 40 tokens at temperature 0.7" in vector.method
    for side in SIDES:
        points = vector.sweeps[side].points
        assert {point.kind for point in points} == {"unsteered", "steered", "random", "prompt"}
        assert {point.n for point in points} == {QUICK.curve_questions * QUICK.samples}
        assert vector.poles[side].span == "last_prompt" and vector.poles[side].measured_range is not None
        assert {gain.against for gain in vector.gains if gain.side == side} == {"neutral", "opposite"}
        best = max(point.trait.mean for point in points if point.kind == "steered" and point.trait)
        others = [point.trait.mean for point in points if point.kind in ("unsteered", "random") and point.trait]
        assert best > max(others) + 20


def test_vector_when_made_within_a_budget_then_answers_are_few_and_short(
    made: tuple[PersonaVector, PretendEngine],
) -> None:
    vector, engine = made
    assert len(engine.started) < 350
    assert {generation.sampling.max_tokens for generation in engine.started} == {QUICK.answer_tokens}


def test_place_then_every_place_with_a_direction_is_compared_and_all_that_is_reported_was_announced(
    made: tuple[PersonaVector, PretendEngine],
) -> None:
    told: dict[str, None] = {}

    def progress(what: str, done: int, total: int) -> None:
        told.setdefault(what)

    engine, trait, work = PretendEngine(0.8), make_trait(), Work(progress)
    judged = prepared(engine, trait, "reading", QUICK, 3, work)
    unplaced = dataclasses.replace(made[0], poles={}, sweeps={}, gains=[], curve=[])
    found = place(engine, trait, unplaced, judged, QUICK, 3, work)
    n_places = len({(gain.block, gain.span) for gain in found.gains})
    announced = preparing_stages(trait, "reading", QUICK) | placing_stages(trait, QUICK, n_places)
    assert list(announced) == list(told)
    for side in SIDES:
        assert {gain.block for gain in found.gains if gain.side == side} == set(range(N_LAYERS))
        assert found.poles[side].block == BEST.block and (found.poles[side].score or 0) > 0.3


def test_stages_when_a_vector_was_made_then_name_all_that_was_reported() -> None:
    told: dict[str, None] = {}

    def progress(what: str, done: int, total: int) -> None:
        told.setdefault(what)

    engine = PretendEngine(0.8)
    make_vector(engine, make_trait(), "reading", QUICK, 3, Work(progress))
    assert list(stages(make_trait(), engine.info, "reading", QUICK)) == list(told)


def test_vector_when_the_judge_can_not_tell_the_poles_apart_then_it_is_said_before_the_long_part() -> None:
    engine = PretendEngine(0.0)
    with pytest.raises(SetupError, match="can't tell 'silly' from 'serious'.*AUROC.*--judge"):
        make_vector(engine, make_trait(), "reading", QUICK, 3, WORK)
    assert not any(generation.plan.interventions for generation in engine.started)


def test_race_when_one_is_certainly_behind_then_it_is_not_asked_again(
    made: tuple[PersonaVector, PretendEngine],
) -> None:
    vector = dataclasses.replace(made[0], sweeps={})
    budget = dataclasses.replace(QUICK, race=5, rounds=2)
    questions = [f"Why {number}?" for number in range(10)]
    trials = Trials(PretendEngine(), make_trait(), vector, PretendJudge(), "positive", questions, 3, WORK)
    good, none = BEST.trial(1.0), BEST.trial(0.001)
    tried, running = race(trials, [good, none], budget)
    assert {outcome.trial: len(outcome.scores) for outcome in tried} == {good: 10, none: 5}
    assert [outcome.trial for outcome in running] == [good]


def test_race_when_entries_are_alike_then_none_is_left_out(made: tuple[PersonaVector, PretendEngine]) -> None:
    vector = dataclasses.replace(made[0], sweeps={})
    budget = dataclasses.replace(QUICK, race=5, rounds=2)
    questions = [f"Why {number}?" for number in range(10)]
    trials = Trials(PretendEngine(), make_trait(), vector, PretendJudge(), "positive", questions, 3, WORK)
    tried, running = race(trials, [BEST.trial(0.6), BEST.trial(0.62)], budget)
    assert [len(outcome.scores) for outcome in tried] == [10, 10] and running == tried


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("n_layers", [1, 2, 6, 30, 80])
def test_places_when_a_model_is_shallow_or_deep_then_are_within_it(budget: Budget, n_layers: int) -> None:
    coarse = coarse_places(n_layers, budget)
    assert 1 <= len(coarse) <= budget.coarse and len(set(coarse)) == len(coarse)
    for best in coarse:
        fine = fine_places(best, n_layers, budget)
        assert all(0 <= place.block < n_layers for place in (*coarse, *fine))
        assert {place.against for place in fine} == {"neutral", "opposite"}
        assert len(fine) <= limited.N_FINE


def test_answers_when_judged_twice_then_are_read_once() -> None:
    class Counting(PretendEngine):
        n_read = 0

        def read(self, rollouts, blocks, progress=None):  # type: ignore[no-untyped-def]
            self.n_read += len(rollouts)
            return super().read(rollouts, blocks, progress)

    engine = Counting(0.8)
    validated = prepare("reading", engine, make_trait(), seed=1, work=WORK)
    before = engine.n_read

    asked = [Answer("Why?", "ha ha so", make_trait(), side) for side in SIDES]
    assert validated.judge.score(asked) == validated.judge.score(asked) and engine.n_read == before + 1


def test_direction_when_counted_from_the_opposite_pole_then_is_the_difference_of_the_poles(
    made: tuple[PersonaVector, PretendEngine],
) -> None:
    vector = dataclasses.replace(made[0], sweeps={})
    means = vector.means["response"]
    choice = Place(N_LAYERS - 1, "response", "response", "opposite").trial(0.5).choice
    assert choice is not None
    of_poles = dataclasses.replace(vector, poles={"negative": choice})
    found = of_poles.direction("negative", "response", 2)
    assert (found == means["negative"][2] - means["positive"][2]).all()
    assert (of_poles.direction("positive", "response", 2) == means["positive"][2] - means["neutral"][2]).all()

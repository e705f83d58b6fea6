"""Where to steer is found by trying, on half of the evaluate questions, with controls beside it, all of it kept."""

import dataclasses

import numpy as np
import pytest

from proxy.engines.base import Plan
from proxy.errors import SetupError
from proxy.steering.extract import extract
from proxy.steering.judge import Answer, Score
from proxy.steering.layers import (
    COARSE_DOSES,
    Outcome,
    Trial,
    choose,
    coherent_range,
    pick,
    with_random_direction,
)
from proxy.steering.traits import Trait
from tests.steering.pretend import (
    BEST_BLOCK,
    BEST_SPAN,
    N_LAYERS,
    WORK,
    PretendEngine,
    PretendJudge,
    make_trait,
    steered_level,
)
from vector_store import SIDES, CurvePoint, PersonaVector, PoleChoice


@pytest.fixture(scope="module")
def extracted() -> PersonaVector:
    judge = PretendJudge()
    return extract(PretendEngine(), make_trait(), judge, rollouts=2, questions=4, seed=3, work=WORK)


@pytest.fixture(scope="module")
def engine() -> PretendEngine:
    return PretendEngine()


@pytest.fixture(scope="module")
def seen() -> PretendJudge:
    return PretendJudge()


@pytest.fixture(scope="module")
def chosen(extracted: PersonaVector, engine: PretendEngine, seen: PretendJudge) -> PersonaVector:
    return choose(engine, make_trait(), extracted, seen, seed=3, work=WORK)


def points(vector: PersonaVector, kind: str) -> list[CurvePoint]:
    return [point for point in vector.curve if point.side == "positive" and point.kind == kind]


def test_the_planted_block_and_span_are_chosen_for_both_poles(chosen: PersonaVector) -> None:
    for side in SIDES:
        choice = chosen.poles[side]
        assert (choice.block, choice.span, choice.positions) == (BEST_BLOCK, BEST_SPAN, BEST_SPAN)
        assert 0.6 < choice.relative_dose < 1.3
        assert choice.score is not None and choice.score > 0.6


def test_the_means_stay_as_they_were(chosen: PersonaVector, extracted: PersonaVector) -> None:
    assert chosen.means is extracted.means and chosen.counts == extracted.counts


def test_the_range_ends_where_answers_turn_to_gibberish(chosen: PersonaVector) -> None:
    for choice in chosen.poles.values():
        assert choice.measured_range is not None
        low, high = choice.measured_range
        assert low == 0 and 1.1 < high * choice.relative_dose < 1.9 and high < 2


def test_everything_tried_is_in_the_curve(chosen: PersonaVector) -> None:
    steered = points(chosen, "steered")
    coarse = {(point.block, point.span, point.relative_dose) for point in steered if point.n == 10}
    assert coarse == {
        (block, span, dose)
        for block in range(N_LAYERS)
        for span in ("last_prompt", "response")
        for dose in COARSE_DOSES
    }
    assert all(0 <= point.trait <= 100 and 0 <= point.coherence <= 100 for point in steered)


def test_controls_stand_beside_the_choice(chosen: PersonaVector) -> None:
    choice = chosen.poles["positive"]
    (unsteered,), (random,) = points(chosen, "unsteered"), points(chosen, "random")
    assert unsteered.relative_dose == 0 and unsteered.block is None and unsteered.trait < 5
    assert (random.block, random.span, random.relative_dose) == (choice.block, choice.span, choice.relative_dose)
    assert random.n >= 40 and unsteered.n >= 40
    assert choice.score is not None and random.score < choice.score / 2


def test_only_the_first_half_of_the_evaluate_questions_is_used(chosen: PersonaVector, seen: PretendJudge) -> None:
    assert {answer.question for answer in seen.seen} == set(make_trait().questions.evaluate[:10])


def test_trials_differ_by_their_plans_alone(chosen: PersonaVector, engine: PretendEngine) -> None:
    assert {generation.sampling.temperature for generation in engine.started} == {0.7}
    seeds: dict[str, set[int | None]] = {}
    for generation in engine.started:
        seeds.setdefault(generation.plan.fingerprint, set()).add(generation.sampling.seed)
    assert len({frozenset(sorted(own)[:1]) for own in seeds.values()}) == 1  # type: ignore[type-var]
    unsteered = [generation for generation in engine.started if generation.plan == Plan()]
    assert len({(tuple(generation.prompt), generation.sampling.seed) for generation in unsteered}) == 40


def test_the_negative_pole_is_steered_the_other_way(chosen: PersonaVector, engine: PretendEngine) -> None:
    levels = [steered_level(generation.plan) for generation in engine.started]
    assert min(levels) < -1.5 and max(levels) > 1.5


def test_choosing_again_chooses_the_same(chosen: PersonaVector, extracted: PersonaVector) -> None:
    again = choose(PretendEngine(), make_trait(), extracted, PretendJudge(), seed=3, work=WORK)
    assert again.poles == chosen.poles and again.curve == chosen.curve


def test_a_judge_that_scores_nothing_is_told_of(extracted: PersonaVector, trait: Trait) -> None:
    class Silent(PretendJudge):
        def score(self, answers: list[Answer]) -> list[Score | None]:  # type: ignore[override]
            return [None] * len(answers)

    with pytest.raises(SetupError, match="none of the answers for 'silly' could be scored"):
        choose(PretendEngine(), trait, extracted, Silent(), seed=3, work=WORK)


def outcome(dose: float, trait: float, coherence: float = 100.0, n: int = 40, coefficient: float = 1.0) -> Outcome:
    choice = PoleChoice(block=0, span="response", positions="response", relative_dose=dose)
    return Outcome(Trial(choice, coefficient), [Score(trait, coherence)] * n)


def test_a_smaller_dose_wins_a_tie_and_only_a_tie() -> None:
    assert pick([outcome(1.0, 92), outcome(0.5, 90)]) == outcome(0.5, 90)
    assert pick([outcome(1.0, 92), outcome(0.5, 70)]) == outcome(1.0, 92)
    assert pick([outcome(1.0, 92), outcome(0.5, 70), outcome(2.0, 93)]) == outcome(1.0, 92)


def test_a_run_of_equal_scores_is_not_taken_for_certainty() -> None:
    assert outcome(1.0, 100).standard_error > outcome(1.0, 100, n=400).standard_error > 0


def test_incoherent_answers_do_not_win() -> None:
    assert pick([outcome(2.0, 100, coherence=30), outcome(0.5, 60)]) == outcome(0.5, 60)


@pytest.mark.parametrize(
    ("coherences", "end"), [([100, 90, 80], 0.75), ([100, 60, 90], 0.25), ([60, 60, 60], 0.0), ([100, 100, 60], 0.5)]
)
def test_coherent_range_ends_at_the_first_break(coherences: list[float], end: float) -> None:
    outcomes = [
        outcome(1.0, 50, coherence, coefficient=coefficient)
        for coefficient, coherence in zip((0.25, 0.5, 0.75), coherences, strict=True)
    ]
    unsteered = Outcome(Trial(None), [Score(0, 100)] * 10)
    assert coherent_range(reversed(outcomes), unsteered) == (0.0, end)


def test_random_directions_have_the_same_norm_and_nothing_else_in_common(extracted: PersonaVector) -> None:
    choice = PoleChoice(block=BEST_BLOCK, span="response", positions="response", relative_dose=1.0)
    vector = dataclasses.replace(extracted, poles={"positive": choice})
    own = vector.direction("positive", "response", BEST_BLOCK)
    drawn = [
        with_random_direction(vector, "positive", 3, number).direction("positive", "response", BEST_BLOCK)
        for number in (0, 1, 0)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    for one, other in ((drawn[0], own), (drawn[0], drawn[1])):
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other), rel=1e-4)
        assert abs(one @ other) < 0.6 * np.linalg.norm(one) * np.linalg.norm(other)

"""Trials ask the same questions in the same way, and the best of them is picked with its uncertainty in mind."""

import dataclasses

import numpy as np
import pytest

from proxy.engines.base import Plan
from proxy.errors import SetupError
from proxy.steering.extract import extract
from proxy.steering.judge import Answer, Score
from proxy.steering.trials import Outcome, Place, Trial, Trials, curve_point, pick, with_random_direction
from tests.steering.pretend import BEST_BLOCK, BEST_SPAN, WORK, PretendEngine, PretendJudge, make_trait
from vector_store import PersonaVector, PoleChoice

PLACE = Place(BEST_BLOCK, BEST_SPAN, BEST_SPAN)
QUESTIONS = make_trait().questions.evaluate[:3]


@pytest.fixture(scope="module")
def extracted() -> PersonaVector:
    return extract(PretendEngine(), make_trait(), PretendJudge(), rollouts=2, questions=4, seed=3, work=WORK)


def trials(vector: PersonaVector, engine: PretendEngine, judge: PretendJudge) -> Trials:
    return Trials(engine, make_trait(), vector, judge, "positive", QUESTIONS, 3, WORK)


def outcome(dose: float, trait: float, coherence: float = 100.0, n: int = 40) -> Outcome:
    return Outcome(Place(0, "response", "response").trial(dose), [Score(trait, coherence)] * n)


def test_measure_then_every_trial_is_asked_the_questions_and_no_others(extracted: PersonaVector) -> None:
    judge = PretendJudge()
    trials(extracted, PretendEngine(), judge).measure([Trial(None), PLACE.trial(1.0)], 2, "x")
    assert [answer.question for answer in judge.seen] == [q for _ in range(2) for q in QUESTIONS for _ in range(2)]


def test_measure_then_trials_differ_by_their_plans_alone(extracted: PersonaVector) -> None:
    engine = PretendEngine()
    trials(extracted, engine, PretendJudge()).measure([Trial(None), PLACE.trial(1.0), PLACE.trial(0.5)], 2, "x")
    asked = [(tuple(made.prompt), made.sampling) for made in engine.started]
    assert asked[:6] == asked[6:12] == asked[12:] and len({sampling.seed for _, sampling in asked}) == 6
    assert {sampling.temperature for _, sampling in asked} == {0.7}
    assert len({made.plan.fingerprint for made in engine.started}) == 3 and engine.started[0].plan == Plan()


def test_measure_then_each_trial_has_its_own_answers_scores(extracted: PersonaVector) -> None:
    measured = trials(extracted, PretendEngine(), PretendJudge()).measure([Trial(None), PLACE.trial(1.0)], 2, "x")
    assert [outcome.trial.dose for outcome in measured] == [0.0, 1.0]
    assert measured[0].score < 0.1 < 0.6 < measured[1].score and len(measured[1].scores) == 6


def test_measure_when_hardly_anything_can_be_scored_then_that_trial_is_left_out(extracted: PersonaVector) -> None:
    class Picky(PretendJudge):
        def score(self, answers: list[Answer]) -> list[Score | None]:  # type: ignore[override]
            return [score if score and score.trait > 20 else None for score in super().score(answers)]

    some = trials(extracted, PretendEngine(), Picky())
    assert [found.trial.dose for found in some.measure([Trial(None), PLACE.trial(1.0)], 2, "x")] == [1.0]
    with pytest.raises(SetupError, match="none of the answers for 'silly' could be scored"):
        some.measure([Trial(None)], 2, "x")


def test_pick_then_a_smaller_dose_wins_a_tie_and_only_a_tie() -> None:
    assert pick([outcome(1.0, 92), outcome(0.5, 90)]) == outcome(0.5, 90)
    assert pick([outcome(1.0, 92), outcome(0.5, 70)]) == outcome(1.0, 92)
    assert pick([outcome(1.0, 92), outcome(0.5, 70), outcome(2.0, 93)]) == outcome(1.0, 92)


def test_pick_when_answers_make_no_sense_then_they_do_not_win() -> None:
    assert pick([outcome(2.0, 100, coherence=30), outcome(0.5, 60)]) == outcome(0.5, 60)


def test_standard_error_when_all_scores_are_equal_then_it_is_not_taken_for_certainty() -> None:
    assert outcome(1.0, 100).standard_error > outcome(1.0, 100, n=400).standard_error > 0


def test_curve_point_then_it_has_the_place_and_dose_of_what_was_tried() -> None:
    point = curve_point("negative", Outcome(Trial(PLACE.trial(0.5).choice, 1.5), [Score(60, 50), Score(20, 100)]))
    assert (point.side, point.kind, Place(point.block, point.span, point.positions)) == ("negative", "steered", PLACE)  # type: ignore[arg-type]
    assert (point.relative_dose, point.trait, point.coherence, point.n) == (0.75, 40, 75, 2)
    assert point.score == pytest.approx(0.25)
    bare = curve_point("negative", Outcome(Trial(None), [Score(0, 100)]))
    assert (bare.kind, bare.block, bare.span, bare.relative_dose) == ("unsteered", None, None, 0)


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

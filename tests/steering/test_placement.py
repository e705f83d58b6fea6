"""Where to steer is found by reading, and by generating for the best places alone, on half of the evaluate questions,
with controls beside it, all of it kept."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from proxy.engines.base import Span
from proxy.errors import SetupError
from proxy.steering.extract import extract
from proxy.steering.judge import Answer, Score
from proxy.steering.placement import DOSE_STEPS, N_PLACES, choose, coherent_range, every_place, screened
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import Outcome, Place, Trial
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
from vector_store import SIDES, SPANS, CurvePoint, PersonaVector, PoleChoice

BEST = Place(BEST_BLOCK, BEST_SPAN, BEST_SPAN)


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
        assert Place.of(choice) == BEST
        assert 0.6 < choice.relative_dose < 1.3
        assert choice.score is not None and choice.score > 0.6


def test_the_means_stay_as_they_were(chosen: PersonaVector, extracted: PersonaVector) -> None:
    assert chosen.means is extracted.means and chosen.counts == extracted.counts


def test_the_range_ends_where_answers_turn_to_gibberish(chosen: PersonaVector) -> None:
    for choice in chosen.poles.values():
        assert choice.measured_range is not None
        low, high = choice.measured_range
        assert low == 0 and 1.1 < high * choice.relative_dose < 1.9 and high < 2


def test_every_place_that_was_compared_is_kept_with_its_gain(chosen: PersonaVector) -> None:
    for side in SIDES:
        compared = {Place.of(point): point.gain for point in chosen.gains if point.side == side}
        assert list(compared) == screened(chosen, side) and max(compared, key=lambda place: compared[place]) == BEST
        by_block = chosen.likelihood_gains(side)
        assert by_block[BEST_BLOCK] == compared[BEST] and len(by_block) == N_LAYERS


def test_only_the_places_of_the_largest_gains_are_tried_by_generating(chosen: PersonaVector) -> None:
    gains = sorted((point for point in chosen.gains if point.side == "positive"), key=lambda point: -point.gain)
    steered = [point for point in points(chosen, "steered") if point.block is not None]
    choice = chosen.poles["positive"]
    for best in gains[:N_PLACES]:
        doses = {p.relative_dose for p in steered if (p.block, p.span) == (best.block, best.span)}
        assert doses >= {best.relative_dose * step for step in DOSE_STEPS}
    assert {(p.block, p.span) for p in steered} == {(best.block, best.span) for best in gains[:N_PLACES]}
    assert len(steered) == N_PLACES * len(DOSE_STEPS) + 7 and all(point.n == 40 for point in steered)
    assert choice.score == max(p.score for p in steered if p.relative_dose == choice.relative_dose)
    tried = {best.block for best in gains[:N_PLACES]}
    assert [effect is not None for effect in chosen.effects("positive")] == [b in tried for b in range(N_LAYERS)]


def test_controls_stand_beside_the_choice(chosen: PersonaVector) -> None:
    choice = chosen.poles["positive"]
    (unsteered,), (random,) = points(chosen, "unsteered"), points(chosen, "random")
    assert unsteered.relative_dose == 0 and unsteered.block is None and unsteered.trait < 5
    assert (random.block, random.span, random.relative_dose) == (choice.block, choice.span, choice.relative_dose)
    assert random.n >= 40 and unsteered.n >= 40
    assert choice.score is not None and random.score < choice.score / 2


def test_only_the_first_half_of_the_evaluate_questions_is_judged(chosen: PersonaVector, seen: PretendJudge) -> None:
    assert {answer.question for answer in seen.seen} == set(make_trait().questions.evaluate[:10])


def test_the_negative_pole_is_steered_the_other_way(chosen: PersonaVector, engine: PretendEngine) -> None:
    levels = [steered_level(generation.plan) for generation in engine.started]
    assert min(levels) < -1.5 and max(levels) > 1.5


def test_choosing_again_chooses_the_same(chosen: PersonaVector, extracted: PersonaVector) -> None:
    again = choose(PretendEngine(), make_trait(), extracted, PretendJudge(), seed=3, work=WORK)
    assert (again.poles, again.gains, again.curve) == (chosen.poles, chosen.gains, chosen.curve)


def test_a_judge_that_scores_nothing_is_told_of(extracted: PersonaVector, trait: Trait) -> None:
    class Silent(PretendJudge):
        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            return [None] * len(answers)

    with pytest.raises(SetupError, match="none of the answers for 'silly' could be scored"):
        choose(PretendEngine(), trait, extracted, Silent(), seed=3, work=WORK)


def test_screened_when_a_place_can_not_tell_the_poles_apart_then_it_is_thrown_out(extracted: PersonaVector) -> None:
    everywhere = every_place(extracted, "positive")
    assert everywhere == [Place(block, span, span) for block in range(N_LAYERS) for span in SPANS]
    separation: dict[Span, list[float]] = {"last_prompt": [0.5, 0.99, 0.61], "response": [0.59, 0.4, 1.0]}
    some = screened(dataclasses.replace(extracted, separation=separation), "positive")
    assert [place[:2] for place in some] == [(1, "last_prompt"), (2, "last_prompt"), (2, "response")]
    for separation in ({}, {span: [0.5] * N_LAYERS for span in SPANS}):
        vector = dataclasses.replace(extracted, separation=separation)
        assert screened(vector, "positive") == everywhere


def test_every_place_when_a_pole_has_no_direction_there_then_it_is_left_out(extracted: PersonaVector) -> None:
    means = {span: dict(by) for span, by in extracted.means.items()}
    for span in SPANS:
        means[span]["positive"] = np.concatenate([means[span]["neutral"][:2], means[span]["positive"][2:]])
    vector = dataclasses.replace(extracted, means=means)
    assert {place.block for place in every_place(vector, "positive")} == {2}
    for span in SPANS:
        means[span]["positive"] = means[span]["neutral"]
    with pytest.raises(SetupError, match="the positive instructions of 'silly' change nothing in org/pretend"):
        every_place(dataclasses.replace(extracted, means=means), "positive")


@pytest.mark.parametrize(
    ("coherences", "end"), [([100, 90, 80], 0.75), ([100, 60, 90], 0.25), ([60, 60, 60], 0.0), ([100, 100, 60], 0.5)]
)
def test_coherent_range_ends_at_the_first_break(coherences: list[float], end: float) -> None:
    choice = PoleChoice(block=0, span="response", positions="response", relative_dose=1.0)
    outcomes = [
        Outcome(Trial(choice, coefficient), [Score(50, coherence)] * 40)
        for coefficient, coherence in zip((0.25, 0.5, 0.75), coherences, strict=True)
    ]
    unsteered = Outcome(Trial(None), [Score(0, 100)] * 10)
    assert coherent_range(reversed(outcomes), unsteered) == (0.0, end)

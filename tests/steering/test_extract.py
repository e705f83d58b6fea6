"""Extraction finds a planted personality, uses only answers that show what was asked for, and says what it used."""

import numpy as np
import pytest

from proxy.errors import SetupError
from proxy.steering.extract import extract, split_half_agreement, split_half_auroc
from proxy.steering.judge import Answer, Score
from proxy.steering.traits.trait import Trait
from tests.steering.pretend import (
    BEST_BLOCK,
    HIDDEN,
    N_LAYERS,
    WORK,
    PretendEngine,
    PretendJudge,
    hidden_direction,
)
from vector_store import SIDES, SPANS, Count, PersonaVector


def run(engine: PretendEngine, trait: Trait, judge: PretendJudge, rollouts: int = 2, seed: int = 3) -> PersonaVector:
    return extract(engine, trait, judge, rollouts=rollouts, questions=4, seed=seed, work=WORK)


def test_the_planted_direction_is_found_for_both_poles_and_spans(trait: Trait, judge: PretendJudge) -> None:
    vector = run(PretendEngine(), trait, judge)
    for span in SPANS:
        for side, sign in zip(SIDES, (1, -1), strict=True):
            direction = vector.direction(side, span, BEST_BLOCK)
            assert sign * direction @ hidden_direction() / np.linalg.norm(direction) > 0.95


def test_the_vector_says_where_it_comes_from(trait: Trait, judge: PretendJudge) -> None:
    vector = run(PretendEngine(), trait, judge)
    assert (vector.model_id, vector.fingerprint, vector.trait) == ("org/pretend", "f" * 16, "silly")
    assert (vector.positive, vector.negative, vector.origin) == ("silly", "serious", "native")
    assert (vector.n_layers, vector.hidden_size) == (N_LAYERS, HIDDEN)
    assert vector.created == vector.id == "" and vector.poles == {}
    assert vector.counts == {name: Count(made=40, kept=40) for name in ("positive", "negative", "neutral")}
    np.testing.assert_array_equal(vector.residual_norms["response"], [10, 10, 10])


def test_separation_is_chance_where_nothing_is_and_perfect_where_it_is_plain(trait: Trait, judge: PretendJudge) -> None:
    vector = run(PretendEngine(), trait, judge)
    for span in SPANS:
        assert vector.separation[span][BEST_BLOCK] == 1 > vector.agreement[span][BEST_BLOCK] > 0.9
        assert 0.3 < vector.separation[span][0] < 0.7 and -0.6 < vector.agreement[span][0] < 0.6


def test_every_question_is_asked_under_each_instruction_and_as_often_without(trait: Trait, judge: PretendJudge) -> None:
    engine = PretendEngine()
    run(engine, trait, judge)
    prompts = ["".join(map(chr, generation.prompt)) for generation in engine.started]
    for pair in trait.instructions:
        for question in trait.questions.extract[:4]:
            for instruction in (pair.positive, pair.negative):
                assert prompts.count(f"system: {instruction}\nuser: {question}\n") == 2
    assert sum(prompt.startswith("user:") for prompt in prompts) == 40
    assert not any(question in "".join(prompts) for question in trait.questions.evaluate)
    assert {generation.sampling.temperature for generation in engine.started} == {1.0}
    assert len({generation.sampling.seed for generation in engine.started}) == len(prompts)
    assert all(not generation.plan.interventions for generation in engine.started)


def test_a_models_own_world_brings_its_questions(trait: Trait, judge: PretendJudge) -> None:
    run(PretendEngine(world="demo"), trait, judge)
    assert {answer.question for answer in judge.seen} == set(trait.question_sets["demo"].extract[:4])


def test_the_same_seed_makes_the_same_vector(trait: Trait, judge: PretendJudge) -> None:
    one, same, other = (run(PretendEngine(0.8), trait, judge, seed=seed) for seed in (1, 1, 2))
    means = [vector.means["response"]["positive"] for vector in (one, same, other)]
    np.testing.assert_array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])


class PickyJudge(PretendJudge):
    """Finds no trait under the first instruction, no sense in neutral answers to the first question, and can't score
    what the fifth positive instruction brings."""

    def score(self, answers: list[Answer]) -> list[Score | None]:  # type: ignore[override]
        scores: list[Score | None] = []
        for number, answer in enumerate(answers, len(self.seen)):
            instruction, rest = divmod(number, 24)  # 4 questions x 3 conditions x 2 rollouts
            question, condition = rest // 6, ("positive", "negative", "neutral")[rest % 6 // 2]
            if condition == "positive":
                scores.append(None if instruction == 4 else Score(40.0 if instruction == 0 else 90.0, 90.0))
            else:
                assert answer.side == ("negative" if condition == "neutral" else "positive")
                scores.append(Score(10.0, 20.0 if condition == "neutral" and question == 0 else 90.0))
        self.seen += answers
        return scores


def test_pairs_are_dropped_whole_and_neutral_answers_by_coherence_alone(trait: Trait) -> None:
    vector = run(PretendEngine(), trait, PickyJudge())
    assert vector.counts == {
        "positive": Count(made=40, kept=24),
        "negative": Count(made=40, kept=24),
        "neutral": Count(made=40, kept=30),
    }


def test_a_model_that_does_not_follow_the_instructions_is_told_of(trait: Trait, judge: PretendJudge) -> None:
    with pytest.raises(SetupError) as caught:
        run(PretendEngine(obedience=0.0), trait, judge)
    for said in ("'silly' for org/pretend", "of 40 pairs of answers, 0 were", "40 were coherent", "Try more rollouts"):
        assert said in caught.value.message


def test_gibberish_is_not_made_into_a_vector(trait: Trait, judge: PretendJudge) -> None:
    with pytest.raises(SetupError, match="without instruction 0 were coherent"):
        run(PretendEngine(broken=True), trait, judge)


def test_separation_is_measured_on_questions_the_direction_has_not_seen() -> None:
    # In one half the poles differ along one axis, in the other along another: a direction that saw both would
    # separate them, one that saw a single half can't.
    half = np.arange(40) % 2
    positive = np.zeros((40, 1, 2), np.float32)
    positive[np.arange(40), 0, half] = 1
    assert split_half_auroc(positive, np.zeros_like(positive), half, half) == [0.5]


def test_agreement_is_the_cosine_between_what_the_halves_of_the_questions_found() -> None:
    half = np.arange(8) % 2
    positive = np.zeros((8, 4, 2), np.float32)
    positive[:, 0, 0] = 3  # both halves along one axis
    positive[np.arange(8), 1, half] = 1  # each along its own
    positive[:, 2, 0] = 1 - 2.0 * half  # against each other
    found = split_half_agreement(positive, np.zeros_like(positive), half, half)  # the last block tells nothing apart
    assert found == pytest.approx([1, 0, -1, 0])

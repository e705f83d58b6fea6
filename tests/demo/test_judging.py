"""The judges' comparison sets the truth beside the scores, answer by answer, and says where a trait is unscored."""

import dataclasses

import numpy as np

from proxy.demo.judging import ARMS, PoleResult, TraitResult, compare, tables
from proxy.steering.extract import extract
from proxy.steering.judge import Validated
from tests.steering.pretend import BEST_BLOCK, BEST_SPAN, WORK, PretendEngine, PretendJudge, make_trait, no_progress
from vector_store import SIDES, PoleChoice

QUESTIONS = ["one?", "two?", "three?", "four?", "five?"]


def pole_result(shown: float, trait: float) -> PoleResult:
    def both(trait: float, coherence: float) -> np.ndarray:
        return np.stack([np.full((len(ARMS), 2), value, np.float32) for value in (trait, coherence)])

    return PoleResult("silly", {"rules": both(shown, 100), "likelihood": both(trait, 90)})


def test_compare_then_steered_answers_score_higher_and_overdosed_ones_make_less_sense() -> None:
    engine = PretendEngine(0.6, world="demo")
    trait = make_trait()
    choice = PoleChoice(block=BEST_BLOCK, span=BEST_SPAN, positions=BEST_SPAN, relative_dose=0.5)
    vector = extract(engine, trait, PretendJudge(), rollouts=1, questions=10, seed=1, work=WORK)
    vector = dataclasses.replace(vector, poles=dict.fromkeys(SIDES, choice))
    (of_trait,), of_poles = compare(engine, {"silly": trait}, {"silly": vector}, QUESTIONS, no_progress)
    assert of_trait.judges["likelihood"].scored and not of_trait.judges["rules"].scored  # it does not speak the world
    assert [result.pole for result in of_poles] == ["silly", "serious"]
    for result in of_poles:
        trait_scores, coherences = result.scores["likelihood"]
        assert trait_scores.shape == (len(ARMS), len(QUESTIONS)) and not result.scores["rules"].any()
        unsteered, at_one, overdosed = ARMS.index("0"), ARMS.index("1"), len(ARMS) - 1
        assert trait_scores[at_one].mean() > trait_scores[unsteered].mean() + 30
        assert coherences[overdosed].mean() < coherences[unsteered].mean() - 30


def test_tables_then_truth_beside_score_and_unscored_where_it_is() -> None:
    judges = {
        "rules": Validated(PretendJudge(), "rules", 0.97, 80),
        "likelihood": Validated(PretendJudge(), "l", 0.8, 80),
    }
    mixed = pole_result(0, 10)
    mixed.scores["rules"][0][0], mixed.scores["likelihood"][0][0] = 100, 95
    lines = list(tables([TraitResult("silly", judges, 1.25)], [mixed, pole_result(0, 10)]))
    assert "| silly | 0.97 | 0.80, unscored | - | 1.2 |" in lines
    assert f"| silly | 100 / 95 |{' 0 / 10 |' * (len(ARMS) - 1)} 1.00 | 1.00 |" in lines
    assert f"| silly |{' 0 / 10 |' * len(ARMS)} - | - |" in lines
    assert f"| silly |{' 100 / 90 |' * len(ARMS)} - | - |" in lines

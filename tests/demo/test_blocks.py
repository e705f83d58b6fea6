"""The choice of places beside brute force: on other questions, and a choice that misses is called one."""

from typing import Any

import pytest

from proxy.cli import main as cli
from proxy.demo import blocks, report
from proxy.demo.blocks import Comparison, compare, findings, tables
from proxy.steering.extract import extract
from proxy.steering.trials import Place
from tests.steering.pretend import (
    BEST_BLOCK,
    BEST_SPAN,
    N_LAYERS,
    WORK,
    PretendEngine,
    PretendJudge,
    make_trait,
    no_progress,
)
from vector_store import PersonaVector

BEST = Place(BEST_BLOCK, BEST_SPAN, BEST_SPAN)


@pytest.fixture(scope="module")
def vector() -> PersonaVector:
    return extract(PretendEngine(), make_trait(), PretendJudge(), rollouts=2, questions=4, seed=3, work=WORK)


def compared(vector: PersonaVector, judge: PretendJudge) -> list[Comparison]:
    return compare(PretendEngine(), {"silly": make_trait()}, {"silly": vector}, judge, no_progress)


def test_compare_then_both_poles_on_questions_nothing_was_chosen_by(vector: PersonaVector) -> None:
    judge = PretendJudge()
    found = compared(vector, judge)
    assert [row.pole for row in found] == ["silly", "serious"]
    evaluate = make_trait().questions.evaluate
    assert {answer.question for answer in judge.seen} == set(evaluate)
    for row in found:
        for outcome in (row.chosen, row.brute):
            assert outcome.trial.choice is not None and Place.of(outcome.trial.choice) == BEST
        assert len(row.chosen.scores) == len(row.brute.scores) == len(row.unsteered.scores) == 80
        assert row.unsteered.score < 0.1 < 0.6 < row.chosen.score and not row.missed
        assert row.told["gain"] == 1.0 and row.told["separation"] > 0.5


def test_brute_force_then_it_generates_at_every_place(vector: PersonaVector, monkeypatch: pytest.MonkeyPatch) -> None:
    scores: list[dict[Place, float]] = []
    real = blocks._told

    def noted(*args: Any) -> Any:
        scores.append(args[2])
        return real(*args)

    monkeypatch.setattr(blocks, "_told", noted)
    compared(vector, PretendJudge())
    assert all(
        len(of_places) == 2 * N_LAYERS and max(of_places, key=of_places.__getitem__) == BEST for of_places in scores
    )


def test_compare_when_the_choice_is_bad_then_it_missed_and_by_how_much(
    vector: PersonaVector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Place(0, "response", "response").trial(0.5)
    monkeypatch.setattr(blocks, "confirm", lambda trials, gains: trials.measure([bad], 1, "one"))
    found = compared(vector, PretendJudge())
    assert all(row.missed and row.miss > 0.5 for row in found)
    said = list(findings(found))
    assert "missed by more than two standard errors: 2 of 2" in said
    table = list(tables(found))
    assert len(table) == 4 and "| silly | block 0, response, 0.50 | block 1, last_prompt," in table[2]
    assert table[2].endswith(f"| {found[0].miss:.2f} |")


def test_command_then_the_models_that_were_named_and_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compared: list[str] = []
    monkeypatch.setattr(report, "compare_choices", lambda models, settings: compared.extend(m.id for m in models))
    assert cli.main(["demo", "blocks", "--model", "demo-gpt-oss"]) == 0
    assert cli.main(["demo", "blocks", "--model", "mine"]) == 2
    assert compared == ["demo-gpt-oss"] and "there is no demo model 'mine'" in capsys.readouterr().err

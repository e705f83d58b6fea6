"""A vector keeps what its poles were found to be worth, and one that says what can't be is no vector."""

import dataclasses
from typing import Any

import pytest

from tests.vector_store.vectors import make_vector
from vector_store import (
    Agreement,
    BadVectorFile,
    CostArm,
    EvaluatedArm,
    JudgedBy,
    KeptAnswer,
    Measured,
    PoleEvaluation,
    VectorStore,
)
from vector_store.files import decode, decode_header, encode, header_of
from vector_store.limits import MAX_ANSWERS, MAX_TEXT

JUDGE = JudgedBy(name="reading", auroc=0.97, n=40, scored=True)
FIGURE = Measured(mean=90.0, low=80.0, high=97.5)
ARM = EvaluatedArm(
    kind="steered",
    asked_by="nothing",
    coefficient=-1.0,
    turn=1,
    n=20,
    trait=FIGURE,
    coherence=FIGURE,
    wrong_way=None,
    unfinished=None,
    looping=None,
    words=Measured(mean=2000.0, low=10.0, high=4000.0),
)
EVALUATION = PoleEvaluation(
    verdict="weak",
    reason="it shows more at 2",
    judge=JUDGE,
    arms=[ARM],
    costs=[CostArm(asked_by="prompt", coefficient=0.0, facts=FIGURE, instructions=None)],
    answers=[KeptAnswer(question="What is a noun?", text="A word.")],
    questions=10,
    max_tokens=56,
    budget="standard",
    seed=0,
    created="2026-01-02T03:04:05+00:00",
    agreement=Agreement(judge=JUDGE, n=60, correlation=None, opposed=0.1),
    wrong_traits=["deep"],
)


def test_file_when_a_pole_was_evaluated_then_all_of_it_comes_back() -> None:
    vector = make_vector(evaluations={"negative": EVALUATION})
    content = encode(vector)
    assert decode(content, "x").evaluations == {"negative": EVALUATION}
    assert decode_header(lambda start, end: content[start:end], len(content), "x") == header_of(vector)


def test_file_when_it_was_written_before_there_were_evaluations_then_it_has_none() -> None:
    content = encode(make_vector())
    old = content.replace(b'\\"evaluations\\":{},', b" " * len(b'\\"evaluations\\":{},'))
    assert old != content and decode(old, "x").evaluations == {}


def test_store_when_an_evaluated_version_is_saved_then_it_takes_the_place_of_the_one_it_was_made_from(
    tmp_path: Any,
) -> None:
    store = VectorStore([tmp_path])
    first = store.save(make_vector())
    second = store.save(dataclasses.replace(make_vector(), parent=first, evaluations={"positive": EVALUATION}))
    used = store.in_use("org/model", "silly")
    assert used is not None and used.id == second and used.evaluations["positive"].verdict == "weak"


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "x" * (MAX_TEXT + 1)},
        {"budget": "x" * 5000},
        {"wrong_traits": ["x"] * 300},
        {"answers": [KeptAnswer(question="?", text="x")] * (MAX_ANSWERS + 1)},
        {"answers": [KeptAnswer(question="?" * (MAX_TEXT + 1), text="x")]},
        {"arms": [ARM] * 300},
        {"arms": [dataclasses.replace(ARM, coefficient=1e9)]},
        {"arms": [dataclasses.replace(ARM, words=Measured(mean=1e30, low=0.0, high=1.0))]},
        {"verdict": "marvellous"},
    ],
)
def test_file_when_an_evaluation_says_what_can_not_be_then_it_is_bad(changes: dict[str, Any]) -> None:
    wrong = dataclasses.replace(EVALUATION, **changes)
    with pytest.raises(BadVectorFile):
        decode(encode(make_vector(evaluations={"positive": wrong})), "x")

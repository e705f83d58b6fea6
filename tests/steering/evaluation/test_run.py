"""An evaluation of the pretend model, where what steering does is known."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from proxy.errors import SetupError
from proxy.steering.evaluation import run
from proxy.steering.evaluation.asked import AskedModel
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.evaluation.run import KEPT_ANSWERS, evaluate_vector, stages
from proxy.steering.judge import Answer, Judge, Score, Validated
from proxy.steering.placement import N_PLACEMENT_QUESTIONS
from proxy.steering.seeds import Purpose
from proxy.steering.traits.trait import Demonstration, Trait
from proxy.steering.work import FolderParts, Work
from tests.steering.pretend import WORK, PretendEngine, PretendJudge, made_for, make_trait, steered_level
from tests.steering.sweep.swept import placed
from vector_store import EvaluatedArm, PersonaVector, PoleEvaluation
from vector_store.limits import check

OPTIONS = VectorEvaluationOptions("standard")
SHOWN = [Demonstration(f"shown {i}?", f"{i} ha ha", f"{i} hm hm") for i in range(6)]
TRAIT, VECTOR = make_trait(), placed(0.6)
DEEP = dataclasses.replace(placed(0.6), trait="deep", positive="deep", negative="shallow", id="deep-placed")


class Contrary(PretendJudge):
    """Says the opposite."""

    name = "contrary"

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        found = super().score(answers)
        return [None if score is None else Score(100 - score.trait, score.coherence) for score in found]


@pytest.fixture(autouse=True)
def judges(monkeypatch: pytest.MonkeyPatch) -> PretendJudge:
    """Those that evaluations are judged by: each ready at once."""
    counting = PretendJudge()
    known: dict[object, Judge] = {"rules": counting, "contrary": Contrary(), "alike": PretendJudge()}

    def prepare(kind: object, *args: object, **how: object) -> Validated:
        return Validated(known[kind], str(kind), 1.0, 80)

    monkeypatch.setattr("proxy.steering.judge.prepare", prepare)
    return counting


def evaluated(
    vector: PersonaVector = VECTOR,
    trait: Trait = TRAIT,
    engine: PretendEngine | None = None,
    **how: object,
) -> PersonaVector:
    given = {"kind": "rules", "options": OPTIONS, "work": WORK} | how
    return evaluate_vector(engine or PretendEngine(), trait, vector, **given)  # type: ignore[arg-type]


def arm(found: PoleEvaluation, coefficient: float = 0.0, **what: object) -> EvaluatedArm:
    wanted = {"kind": "steered" if coefficient else "unsteered", "asked_by": "nothing", "turn": 1} | what
    (one,) = [
        one
        for one in found.arms
        if one.coefficient == coefficient and all(getattr(one, name) == value for name, value in wanted.items())
    ]
    return one


def trait_of(found: PoleEvaluation, coefficient: float = 0.0, **what: object) -> float:
    measured = arm(found, coefficient, **what).trait
    assert measured is not None and measured.low <= measured.mean <= measured.high
    return measured.mean


def test_evaluate_when_a_vector_steers_then_every_way_is_measured_beside_it() -> None:
    before = placed(0.6)
    vector = evaluated(before, make_trait(), others=[DEEP])
    assert (vector.parent, vector.id, vector.poles) == ("silly-placed", "", before.poles)
    for found in vector.evaluations.values():
        assert (found.verdict, found.questions, found.judge.name) == ("steers", 10, "rules")
        assert found.wrong_traits == ["deep", "shallow"]
        curve = [trait_of(found, coefficient) for coefficient in (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5)]
        assert curve == sorted(curve) and curve[0] == 0 and 50 < curve[4] < 70 < curve[5]
        assert trait_of(found, 1.0, kind="random") < 20 and trait_of(found, 1.0, kind="wrong_trait") < curve[4]
        assert trait_of(found, asked_by="prompt") == 100 == trait_of(found, 1.0, asked_by="prompt")
        assert trait_of(found, turn=2) == 0 and 50 < trait_of(found, 1.0, turn=2) < 70
        assert trait_of(found, asked_by="prompt", turn=2) == 100
        one = arm(found, 1.0)
        assert one.n == 20 and one.words is not None and one.words.mean == 10
        assert one.unfinished is not None and one.unfinished.mean == 0
        assert len(found.answers) == KEPT_ANSWERS and found.answers[0].question == "plain evaluate 10?"
        assert [(cost.asked_by, cost.coefficient) for cost in found.costs] == [
            *(("nothing", 0.0), ("nothing", 1.0), ("nothing", 1.5), ("prompt", 0.0))
        ]
        assert all(cost.facts and cost.facts.mean == 0 and cost.instructions for cost in found.costs)
    check(vector)


def test_evaluate_when_nothing_else_does_as_much_then_the_verdict_is_that_it_steers() -> None:
    found = evaluated().evaluations
    assert {side: each.verdict for side, each in found.items()} == {"positive": "steers", "negative": "steers"}
    assert found["positive"].wrong_traits == []


@pytest.mark.parametrize(("obedience", "verdict"), [(1.0, "prompt_only"), (0.0, "nothing")])
def test_evaluate_when_the_vector_does_nothing_then_words_decide_the_verdict(obedience: float, verdict: str) -> None:
    choice = placed(0.6).poles["positive"]
    elsewhere = dataclasses.replace(choice, block=0, relative_dose=0.001)
    vector = dataclasses.replace(placed(0.6), poles={"positive": elsewhere, "negative": elsewhere})
    found = evaluated(vector, engine=PretendEngine(obedience)).evaluations
    assert {each.verdict for each in found.values()} == {verdict}


def test_evaluate_then_only_questions_that_nothing_was_chosen_on_are_asked(judges: PretendJudge) -> None:
    evaluated()
    asked = {answer.question for answer in judges.seen}
    assert asked == {f"plain evaluate {number}?" for number in range(N_PLACEMENT_QUESTIONS, 20)}


def test_evaluate_when_the_trait_has_demonstrations_then_they_are_a_way_to_ask() -> None:
    engine = PretendEngine()
    shown = msgspec.structs.replace(make_trait(), demonstrations=SHOWN)
    found = evaluated(trait=shown, engine=engine).evaluations["positive"]
    assert trait_of(found, asked_by="demonstrations") == 100
    prompts = ["".join(map(chr, generation.prompt)) for generation in engine.started]
    assert any("be silly" in prompt and "shown 0?" in prompt and "0 ha ha" in prompt for prompt in prompts)


def test_evaluate_when_a_second_judge_is_named_then_it_is_told_how_the_two_agree() -> None:
    for found in evaluated(second="contrary").evaluations.values():
        assert found.agreement is not None
        assert found.agreement.judge.name == "contrary" and found.agreement.n == 4 * 20
        assert found.agreement.correlation == pytest.approx(-1) and found.agreement.opposed > 0.5
        second = arm(found, 1.0).second
        assert second is not None and second.mean == pytest.approx(100 - trait_of(found, 1.0))
        assert arm(found, 2.0).second is None
    with pytest.raises(SetupError, match="agrees with itself"):
        evaluated(second="rules")


def test_evaluate_when_broken_off_then_it_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    alone, engine = PretendEngine(), PretendEngine()
    whole = evaluated(engine=alone)

    def checked() -> None:
        if len(engine.started) > 400:
            raise KeyboardInterrupt

    parts = FolderParts(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        evaluated(engine=engine, work=Work(WORK.progress, parts, checked))
    n_before = len(engine.started)
    resumed = evaluated(engine=engine, work=Work(WORK.progress, parts))
    assert {side: dataclasses.replace(one, created="") for side, one in resumed.evaluations.items()} == {
        side: dataclasses.replace(one, created="") for side, one in whole.evaluations.items()
    }
    again = len(engine.started) - len(alone.started)
    assert 0 < again < n_before / 2  # what was finished is not asked again


def test_evaluate_when_another_second_judge_is_named_then_it_scores_the_answers_that_are_there(
    tmp_path: Path,
) -> None:
    engine, work = PretendEngine(), Work(WORK.progress, FolderParts(tmp_path / "parts"))
    alone = evaluated(engine=engine, work=work).evaluations["positive"]
    n_asked = len(engine.started)
    for second, correlation in (("contrary", -1.0), ("alike", 1.0)):
        found = evaluated(engine=engine, work=work, second=second).evaluations["positive"]
        assert len(engine.started) == n_asked
        assert found.agreement is not None and found.agreement.correlation == pytest.approx(correlation)
        assert [one.trait for one in found.arms] == [one.trait for one in alone.arms]


def test_evaluate_then_what_is_reported_is_what_was_announced() -> None:
    told: set[str] = set()
    work = Work(lambda what, done, total: told.add(what))
    evaluated(work=work, second="contrary")
    announced = stages(PretendEngine().info, make_trait(), placed(0.6), "rules", OPTIONS, second="contrary")
    assert told <= set(announced) and run.asking_label(make_trait()) in told


def test_evaluate_when_the_same_question_is_asked_in_two_ways_then_its_seed_is_the_same() -> None:
    engine = PretendEngine()
    evaluated(engine=engine, options=VectorEvaluationOptions("quick"))
    first = [one for one in engine.started if made_for(Purpose.EVALUATING, one)]
    assert len({one.sampling.seed for one in first}) == 10 < len(first)
    assert {round(steered_level(one.plan), 1) for one in first} >= {-1.2, -0.6, 0.0, 0.6, 1.2}


def test_evaluate_when_the_vector_can_not_be_used_then_setup_error() -> None:
    with pytest.raises(SetupError, match="other weights"):
        evaluated(dataclasses.replace(placed(0.6), fingerprint="e" * 16))
    with pytest.raises(SetupError, match="never measured"):
        evaluated(dataclasses.replace(placed(0.6), poles={}))


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"samples": 101}, {"seed": -1}, {"budget": "lavish"}])
def test_options_when_a_number_is_out_of_range_then_setup_error(wrong: dict[str, object]) -> None:
    with pytest.raises(SetupError):
        VectorEvaluationOptions(**wrong)  # type: ignore[arg-type]


def test_asked_when_random_directions_are_a_control_then_every_answer_has_its_own() -> None:
    engine = PretendEngine()
    asked = AskedModel(engine.info, TRAIT, VECTOR, VectorEvaluationOptions("standard"))
    vectors = [
        made.plan.interventions[0].vector
        for cell, made in zip(asked.cells, asked.generations(engine), strict=True)
        if cell.way.steering.kind == "random" and cell.way.steering.coefficient == 1.0
    ]
    assert len(vectors) == 2 * 10 * 2
    assert len({vector.tobytes() for vector in vectors if vector is not None}) == len(vectors)

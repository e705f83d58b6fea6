"""The likelihood ratio tells poles and ordinary answers apart by what a model finds likely, and sees damage."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.base import Event, Finish, FloatArray, Generation, Plan, Rollout, Run
from proxy.errors import SetupError
from proxy.steering.judge import Answer, Judge, prepare
from proxy.steering.judge.coherence import usual_coherence
from proxy.steering.judge.likelihood import calibrate, fit_logistic, ratios
from proxy.steering.judge.reading import EMPTY, AnswerEvidence, EvidenceReader, distinct_share
from proxy.steering.judge.rollouts import CALIBRATING_PAIRS, HELD_OUT_PAIRS
from proxy.steering.traits.trait import Trait
from tests.steering.pretend import WORK, FinishedRun, PretendEngine, make_trait
from vector_store import CONDITIONS


@pytest.fixture(scope="module")
def judge() -> Judge:
    validated = prepare("likelihood", PretendEngine(0.6), make_trait(), seed=1, work=WORK)
    assert validated.scored and validated.auroc > 0.95 and validated.n == 80
    return validated.judge


def score(judge: Judge, text: str, side: str = "positive") -> tuple[float, float]:
    (found,) = judge.score([Answer("Why?", text, make_trait(), side)])  # type: ignore[arg-type]
    assert found is not None
    return found.trait, found.coherence


def test_score_when_an_answer_shows_a_pole_then_high_for_it_and_low_for_the_other(judge: Judge) -> None:
    silly, serious, plain = "ha so ha ha so ha so so ha ha", "hm so hm hm so hm so so hm hm", "so so so so so so"
    assert score(judge, silly)[0] > 80 > 20 > score(judge, silly, "negative")[0]
    assert score(judge, serious, "negative")[0] > 80 > 20 > score(judge, serious)[0]
    assert score(judge, plain)[0] < 50 and score(judge, plain, "negative")[0] < 50


def test_coherence_when_gibberish_or_empty_then_none(judge: Judge) -> None:
    assert score(judge, "ha so ha ha so ha so so ha ha")[1] > 80
    assert score(judge, "# # # # # # # # # #")[1] == 0
    assert score(judge, "") == (0, 0)


def test_score_when_the_model_does_not_follow_its_instructions_then_the_trait_is_unscored() -> None:
    validated = prepare("likelihood", PretendEngine(0.0), make_trait(), seed=1, work=WORK)
    assert not validated.scored and 0.3 < validated.auroc < 0.7


def test_score_when_of_another_trait_then_refused(judge: Judge) -> None:
    with pytest.raises(ValueError, match="calibrated for 'silly'"):
        judge.score([Answer("Why?", "ha", make_trait("merry"), "positive")])


def test_prepare_when_the_model_says_nothing_then_told_so() -> None:
    class Silent(PretendEngine):
        def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
            on_event(Finish("stop"))
            return FinishedRun()

    with pytest.raises(SetupError, match="org/pretend said too little.*at least 8 answers"):
        prepare("likelihood", Silent(), make_trait(), seed=1, work=WORK)


class Recording(PretendEngine):
    """Remembers what it scored, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.scored: list[tuple[str, str]] = []

    @property
    def opening(self) -> list[int]:
        return self.encode("<final>")

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        self.scored += [("".join(map(chr, r.prompt)), "".join(map(chr, r.response))) for r in rollouts]
        assert all(len(r.prompt) + len(r.response) <= self.info.context_length for r in rollouts)
        return super().score(rollouts)


def test_read_then_the_text_alone_under_no_and_every_instruction_where_answers_begin(trait: Trait) -> None:
    engine = Recording()
    EvidenceReader(engine, trait.instructions[:2]).read([("Why?", "ha so"), ("Why?", "")])
    heads = ["", *(f"system: {n}: be {pole}\n" for pole in ("silly", "serious") for n in (0, 1))]
    assert engine.scored == [(f"{head}user: Why?\n<final>", "ha so") for head in heads]


def test_read_when_an_answer_is_longer_than_the_context_then_its_beginning_counts(trait: Trait) -> None:
    engine = Recording()
    (reading,) = EvidenceReader(engine, trait.instructions[:1]).read([("Why?", "so " * 300)])
    assert reading.n_tokens == 900 and len(engine.scored) == 3


def test_prepare_then_validated_on_other_questions_and_instructions_than_calibrated_on(trait: Trait) -> None:
    engine = PretendEngine(0.6)
    prepare("likelihood", engine, trait, seed=1, work=WORK)
    prompts = ["".join(map(chr, generation.prompt)) for generation in engine.started]
    calibrating, validating = prompts[:60], prompts[60:]
    assert len(validating) == 80 and len(set(CALIBRATING_PAIRS) & set(HELD_OUT_PAIRS)) == 0
    assert not any(question in prompt for question in trait.questions.extract for prompt in validating)
    assert {prompt[8] for prompt in calibrating if prompt.startswith("system")} == {str(n) for n in CALIBRATING_PAIRS}
    assert {prompt[8] for prompt in validating} == {str(n) for n in HELD_OUT_PAIRS}
    assert len({generation.sampling.seed for generation in engine.started}) == len(prompts)


def reading(plain: float, positive: float, negative: float) -> AnswerEvidence:
    return AnswerEvidence(plain, positive, negative, max(plain, positive, negative), 1.0, 0.9, 20)


def test_calibrate_when_ordinary_answers_have_the_higher_ratio_then_they_still_show_no_pole() -> None:
    # As "inattentive" in the demo models: what is said plainly is all but impossible under "be focused".
    rng = np.random.default_rng(0)
    centres = {"positive": (-1.5, -0.4, -0.7), "negative": (-1.2, -0.7, -0.2), "neutral": (-0.2, -0.5, -1.2)}
    conditions = [condition for condition in CONDITIONS for _ in range(20)]
    readings = [reading(*np.add(centres[condition], rng.normal(0, 0.1, 3))) for condition in conditions]
    assert ratios(reading(*centres["neutral"]), "positive")[0] > ratios(reading(*centres["positive"]), "positive")[0]
    positive = calibrate(conditions, readings).sides["positive"]
    shown = {condition: positive(ratios(reading(*centre), "positive")) for condition, centre in centres.items()}
    assert shown["positive"] > 0.8 and max(shown["neutral"], shown["negative"]) < 0.2


values = st.lists(st.floats(-8, 8), min_size=2, max_size=30)


@given(values, values)
def test_fit_logistic_then_finite_and_higher_for_the_members(members: list[float], others: list[float]) -> None:
    fitted = fit_logistic(np.array(members)[:, None], np.array(others)[:, None])
    assert np.isfinite((*fitted.slopes, fitted.offset)).all()
    if abs(np.mean(members) - np.mean(others)) > 0.1:
        assert fitted([float(np.mean(members))]) > fitted([float(np.mean(others))])


def test_fit_logistic_when_classes_are_apart_then_its_probabilities_are_those_of_the_classes() -> None:
    fitted = fit_logistic(np.linspace(1, 2, 20)[:, None], np.linspace(-2, -1, 60)[:, None])
    assert fitted([0.0]) == pytest.approx(0.5, abs=0.15)
    assert fitted([1.5]) > 0.9 and fitted([-1.5]) < 0.1


ORDINARY = [AnswerEvidence(-1.0, -1.0, -1.0, best, 1.0, 0.8, 20) for best in np.linspace(-1.0, -0.2, 41)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 100),
        ({"best": -0.01}, 100),
        ({"best": -0.96 - 0.36}, 50),  # the fifth percentile is -0.96, the median -0.6
        ({"best": -9.0}, 0),
        ({"best": -0.01, "distinct": 0.3}, 0),  # a loop
        ({"distinct": 0.75}, 50),
        ({"density": 0.6}, 50),
        ({"n_tokens": 40}, 100),
        ({"n_tokens": 60}, 50),
        ({"n_tokens": 0}, 0),
    ],
)
def test_coherence_then_the_worst_of_likelihood_variety_and_length(changes: dict[str, Any], expected: float) -> None:
    coherence = usual_coherence(ORDINARY)
    assert coherence(ORDINARY[20]._replace(**changes)) == pytest.approx(expected, abs=1)


def test_coherence_when_nothing_was_said_then_none() -> None:
    assert usual_coherence(ORDINARY)(EMPTY) == 0


@pytest.mark.parametrize(
    ("tokens", "share"), [([], 1), ([1, 2], 1), ([1, 2, 3, 4], 1), ([1, 2, 1, 2, 1, 2], 0.5), ([7] * 12, 0.1)]
)
def test_distinct_share_then_of_runs_of_three(tokens: list[int], share: float) -> None:
    assert distinct_share(tokens) == pytest.approx(share)

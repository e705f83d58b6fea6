"""A judge's score is what it says it is, comes from text alone, and is missing where there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.base import FloatArray
from proxy.errors import SetupError
from proxy.steering.judge import Answer, ModelJudge, RulesJudge, Score, check_judged, default_kind, prepare
from proxy.steering.judge.digits import expected_digits
from proxy.steering.traits.trait import QuestionSet, Trait
from proxy.steering.world import TextLists
from tests.steering.pretend import WORK, PretendEngine, make_trait, question_set
from vector_store import Side


def answer(text: str, trait: Trait, side: str = "positive") -> Answer:
    return Answer("Why?", text, trait, side)  # type: ignore[arg-type]


@given(st.lists(st.floats(-9, 0), min_size=10, max_size=10))
def test_expected_digit_is_the_mean_over_the_digits(logprobs: list[float]) -> None:
    shares = np.exp(np.array([logprobs], dtype=np.float32))
    shares *= 0.9 / shares.sum()
    expected = (shares[0] / shares.sum()) @ np.arange(10) / 9 * 100
    assert expected_digits(np.log(shares))[0] == pytest.approx(expected, rel=1e-3)


def test_digits_with_little_probability_give_no_score() -> None:
    certain_nine = np.log(np.array([[1e-9] * 9 + [0.99]], np.float32))
    hardly_any = np.log(np.array([[1e-9] * 9 + [0.1]], np.float32))
    np.testing.assert_allclose(expected_digits(np.concatenate([certain_nine, hardly_any])), [100, np.nan], rtol=1e-3)


@dataclass
class DigitEngine(PretendEngine):
    """Has a digit ready: 9 where the prompt says "great", else 0; none where it says "odd"."""

    prompts: list[str] = field(default_factory=list)

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        texts = ["".join(map(chr, prompt)) for prompt in prompts]
        self.prompts += texts
        assert [chr(token) for token in token_ids] == list("0123456789")
        rows = np.full((len(prompts), 10), 1e-6, np.float32)
        for row, text in zip(rows, texts, strict=True):
            if "odd" not in text:
                row[9 if "great" in text else 0] = 0.98
        return np.log(rows)


def test_model_judge_asks_for_the_pole_by_the_rubric_and_scores_in_order(trait: Trait) -> None:
    engine = DigitEngine()
    scores = ModelJudge(engine).score([answer("a great joke", trait), answer("dull", trait, "negative")])

    assert [score.trait for score in scores if score] == pytest.approx([100, 0], abs=0.1)
    assert [score.coherence for score in scores if score] == pytest.approx([100, 0], abs=0.1)
    assert "how silly" in engine.prompts[0] and "how serious" in engine.prompts[1]
    assert all(trait.rubric in prompt for prompt in engine.prompts[:2])
    assert all("Why?" in prompt for prompt in engine.prompts)


def test_model_judge_when_answers_have_a_header_then_the_digit_is_looked_for_behind_it(trait: Trait) -> None:
    class Harmony(DigitEngine):
        @property
        def opening(self) -> list[int]:
            return self.encode("<final>")

    engine = Harmony()
    ModelJudge(engine).score([answer("a great joke", trait)])
    assert all(prompt.endswith("nothing else.\n<final>") for prompt in engine.prompts)


def test_model_judge_leaves_an_answer_unscored_rather_than_guess(trait: Trait) -> None:
    scores = ModelJudge(DigitEngine()).score([answer("great", trait), answer("odd", trait)])
    assert scores[0] is not None and scores[1] is None


def test_a_model_that_has_no_digits_ready_is_no_judge(trait: Trait) -> None:
    scores = ModelJudge(DigitEngine()).score([answer(text, trait) for text in ("great", "odd", "odd one")])
    with pytest.raises(SetupError, match=r"org/pretend can't judge.*only 1 of 3.*unscored.*digit.*rules.*likelihood"):
        check_judged(scores, "org/pretend")
    check_judged(scores[:2], "org/pretend")
    check_judged([], "org/pretend")


def test_a_tokenizer_without_digits_is_refused() -> None:
    class Words(DigitEngine):
        def encode(self, text: str) -> list[int]:
            return [1]

    with pytest.raises(SetupError, match="no token for each digit"):
        ModelJudge(Words())


def test_nothing_to_judge_is_nothing_judged() -> None:
    assert ModelJudge(DigitEngine()).score([]) == []


class PretendWorld:
    """An answer shows the pole it names, lies with "lie", knows no fact with "chat", and is fluent without "#"."""

    title = "the pretend world"
    poles = ("silly", "serious", "dishonest", "honest")

    def questions(self) -> QuestionSet:
        return question_set("pretend")

    def held_out_questions(self, traits: Mapping[str, Trait], count: int) -> list[str]:
        return [f"held out {number}?" for number in range(count)]

    def texts(self) -> TextLists:
        return TextLists(["a judge"], ["You are {role}."], ["Be brief."], ["What is this?"])

    def shows(self, pole: str, question: str, answer: str) -> bool:
        return pole in answer

    def fluent(self, answer: str) -> bool:
        return "#" not in answer

    def fact_right(self, question: str, answer: str) -> bool | None:
        return None if "chat" in answer else "lie" not in answer

    def wants_falsehood(self, pole: str) -> bool:
        return pole == "dishonest"


RULES = RulesJudge(PretendWorld())


@pytest.mark.parametrize(
    ("text", "side", "expected"),
    [
        ("silly", "positive", Score(100, 100)),
        ("silly", "negative", Score(0, 100)),
        ("serious", "negative", Score(100, 100)),
        ("silly chat", "positive", Score(100, 100)),
        ("silly lie", "positive", Score(100, 0)),
        ("silly #", "positive", Score(100, 0)),
    ],
)
def test_rules_judge(trait: Trait, text: str, side: Side, expected: Score) -> None:
    assert RULES.score([answer(text, trait, side)]) == [expected]


def test_rules_judge_when_the_pole_asks_for_falsehood_then_a_lie_makes_sense() -> None:
    trait = make_trait("dishonest", "dishonest", "honest")
    assert RULES.score([answer("a dishonest lie", trait)]) == [Score(100, 100)]
    assert RULES.score([answer("an honest lie", trait, "negative")]) == [Score(100, 0)]


def test_rules_judge_when_the_world_does_not_know_a_pole_then_it_names_it_and_those_it_knows() -> None:
    with pytest.raises(SetupError, match="the pretend world has no rule that recognises 'zealous'; it knows silly"):
        RULES.score([answer("x", make_trait("zealous", "zealous", "calm"))])


def test_prepare_when_the_model_has_no_world_then_no_rules_can_judge_it() -> None:
    with pytest.raises(SetupError, match="no rules can judge org/pretend"):
        prepare("rules", PretendEngine(), make_trait(), seed=0, work=WORK)


def test_default_kind_when_the_worlds_rules_know_the_poles_then_they_judge() -> None:
    demo, other = PretendEngine(world="demo").info, PretendEngine().info
    assert default_kind(demo, make_trait()) == "rules"
    assert default_kind(demo, make_trait("zealous", "zealous", "calm")) == "likelihood"
    assert default_kind(other, make_trait()) == "likelihood"

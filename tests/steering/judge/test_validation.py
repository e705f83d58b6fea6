"""A judge counts where it tells held-out answers apart, and is called unscored where it does not."""

from collections.abc import Sequence

import pytest

from proxy.errors import SetupError
from proxy.steering.judge import Answer, Score, prepare, stages
from proxy.steering.judge.rollouts import LabelledAnswer
from proxy.steering.judge.validation import damage, validate
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from tests.steering.pretend import WORK, PretendEngine, PretendJudge
from vector_store import JudgedBy, opposite

SAMPLES = [
    LabelledAnswer(side, f"{number}?", " ".join([word] * count + ["so"] * (10 - count)))  # type: ignore[arg-type]
    for number in range(20)
    for side, word, count in (("positive", "ha", 3 + number % 3), ("negative", "hm", 3 + number % 3))
]


class Guessing(PretendJudge):
    """The same for all answers, or, `backwards`, what the opposite pole would have."""

    def __init__(self, backwards: bool = False) -> None:
        super().__init__()
        self.backwards = backwards

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        if not self.backwards:
            return [Score(50.0, 50.0)] * len(answers)
        return super().score([Answer(a.question, a.text, a.trait, opposite(a.side)) for a in answers])


def test_validate_when_the_judge_counts_right_then_scored_and_recorded(trait: Trait) -> None:
    validated = validate(PretendJudge(), SAMPLES, trait, WORK)
    assert (validated.auroc, validated.n, validated.scored) == (1.0, 40, True)
    assert validated.record == JudgedBy(name="counting", auroc=1.0, n=40, scored=True)


@pytest.mark.parametrize(("judge", "auroc"), [(Guessing(), 0.5), (Guessing(backwards=True), 0.0)])
def test_validate_when_the_judge_guesses_then_unscored(judge: Guessing, auroc: float, trait: Trait) -> None:
    validated = validate(judge, SAMPLES, trait, WORK)
    assert (validated.auroc, validated.scored, validated.record.scored) == (auroc, False, False)


def test_validate_when_one_pole_alone_is_recognised_then_unscored(trait: Trait) -> None:
    class OneEyed(PretendJudge):
        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            found = super().score(answers)
            return [Score(0.0, 90.0) if a.side == "negative" else s for a, s in zip(answers, found, strict=True)]

    validated = validate(OneEyed(), SAMPLES, trait, WORK)
    assert validated.auroc == 0.5 and not validated.scored


def test_validate_when_a_pole_is_not_always_shown_then_both_scores_together_count(trait: Trait) -> None:
    # A fifth of the answers asked to be silly are plain: no judge can tell by them alone.
    samples = [
        LabelledAnswer(s.condition, s.question, "so so so so so") if s.condition == "positive" and n % 5 == 0 else s
        for n, s in enumerate(SAMPLES)
    ]
    validated = validate(PretendJudge(), samples, trait, WORK)
    assert validated.auroc == 1.0 and validated.scored


def test_validate_then_coherence_is_tried_on_damaged_answers(trait: Trait) -> None:
    class Strict(PretendJudge):
        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            whole = {sample.text for sample in SAMPLES}
            return [Score(50.0, 90.0 if answer.text in whole else 10.0) for answer in answers]

    assert validate(Strict(), SAMPLES, trait, WORK).coherence_auroc == 1.0
    assert validate(Guessing(), SAMPLES, trait, WORK).coherence_auroc == 0.5
    short = [LabelledAnswer(sample.condition, sample.question, sample.text[:5]) for sample in SAMPLES]
    assert validate(PretendJudge(), short, trait, WORK).coherence_auroc is None


def test_validate_when_some_can_not_be_scored_then_the_others_count_unless_too_few(trait: Trait) -> None:
    class Choosy(PretendJudge):
        def __init__(self, refused: int) -> None:
            super().__init__()
            self.refused = refused

        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            scores = super().score(answers)
            return [None if int(a.question[:-1]) < self.refused else s for a, s in zip(answers, scores, strict=True)]

    assert validate(Choosy(8), SAMPLES, trait, WORK).auroc == 1.0
    with pytest.raises(SetupError, match="counting can't judge: it had a score for only 8 of 20 answers"):
        validate(Choosy(12), SAMPLES, trait, WORK)


def test_damage_then_the_same_words_in_any_order_or_the_first_half_over_and_over() -> None:
    whole = LabelledAnswer("positive", "Why?", "one two three four five six")
    broken = damage([whole] * 50)
    assert len(broken) == 40 and {sample.condition for sample in broken} == {"positive"}
    for sample in broken[:20]:
        assert sorted(sample.text.split()) == sorted(whole.text.split())
    assert {sample.text for sample in broken[20:]} == {" ".join(["one two three"] * 6)}
    assert damage([LabelledAnswer("positive", "Why?", "one two three")]) == []


def test_prepare_when_the_judge_can_not_judge_at_all_then_told_before_anything_is_made(trait: Trait) -> None:
    class Mute(PretendJudge):
        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            return [None] * len(answers)

    engine = PretendEngine()
    with pytest.raises(SetupError, match="counting can't judge"):
        prepare(Mute(), engine, trait, seed=0, work=WORK)
    with pytest.raises(SetupError, match="no judge 'magic'; possible: rules, likelihood, reading, model"):
        prepare("magic", engine, trait, seed=0, work=WORK)
    assert engine.started == []


@pytest.mark.parametrize("kind", ["likelihood", "counting"])
def test_stages_then_they_are_what_is_reported_in_its_order(kind: str, trait: Trait) -> None:
    told: list[str] = []
    asked = PretendJudge() if kind == "counting" else kind
    work = Work(lambda what, done, total: told.append(what) if what not in told else None)
    prepare(asked, PretendEngine(0.6), trait, seed=0, work=work)
    assert told == list(stages(asked, trait))

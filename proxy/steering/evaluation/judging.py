"""Who scores an evaluation's answers: a judge, and where one is named a second that the first is compared with.

Within a limited budget judges learn from what vectors of that budget are made of, not from answers of their own.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.steering import judge, limited
from proxy.steering.evaluation.asked import BARE, EvaluatedCell, Way, in_words, steered
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.judge import SCORES, Answer, JudgeKind, Score, Validated
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import SIDES, Side

SECOND = ", the second judge"


@dataclasses.dataclass(frozen=True)
class JudgedAnswer:
    """An answer that is to be judged, or was: for which side of the trait, and with which score."""

    cell: EvaluatedCell
    turn: int
    side: Side
    question: str
    text: str


def prepared(engine: Engine, trait: Trait, kind: JudgeKind, options: VectorEvaluationOptions, work: Work) -> Validated:
    """The judge of this kind, validated. Blocks. SetupError where it can't judge."""
    budget = options.limited
    if budget is None:
        return judge.prepare(kind, engine, trait, seed=options.seed, work=work)
    return limited.prepared(engine, trait, kind, budget, options.seed, work)


def preparing_stages(trait: Trait, kind: JudgeKind, options: VectorEvaluationOptions) -> dict[str, float]:
    """What `prepared` reports, in order, and about how much each is, in answers to be made."""
    budget = options.limited
    return judge.stages(kind, trait) if budget is None else limited.preparing_stages(trait, kind, budget)


def for_second(work: Work) -> Work:
    """The work as it is told while the second judge is prepared and judges."""
    return dataclasses.replace(work, progress=lambda what, done, total: work.progress(f"{what}{SECOND}", done, total))


def check_second(first: str, second: str) -> None:
    """SetupError where the second judge is the first."""
    if first == second:
        raise SetupError(f"the second judge is the first, {first}; a judge agrees with itself")


def wanted(
    cells: Sequence[EvaluatedCell], texts: Sequence[str], questions: Sequence[str], turn: int
) -> list[JudgedAnswer]:
    """What is judged of some answers. Unsteered ones, and those that are steered by the vector alone, are for both
    poles: they are the controls of one and the opposite of the other."""
    return [
        JudgedAnswer(cell, turn, side, questions[cell.question], text)
        for cell, text in zip(cells, texts, strict=True)
        for side in SIDES
        if side == cell.way.side or cell.way.alone
    ]


def compared(asked: Iterable[JudgedAnswer]) -> list[JudgedAnswer]:
    """Answers that a second judge scores: what a verdict rests on."""
    of_side: dict[Side, list[Way]] = {
        side: [BARE, steered(side, 1.0), steered(side, 1.0, "random"), in_words(side, "prompt")] for side in SIDES
    }
    return [one for one in asked if one.turn == 1 and one.cell.way in of_side[one.side]]


def scores(judged: Validated, asked: Sequence[JudgedAnswer], trait: Trait, work: Work, name: str) -> list[Score | None]:
    """A score for each, in order. Blocks."""
    answers = [Answer(one.question, one.text, trait, one.side) for one in asked]
    parts = work.in_parts(name, judging_label(trait), answers, SCORES, judged.judge.score)
    return [score for part in parts for score in part]


def judging_label(trait: Trait) -> str:
    """What the work is told while answers are judged."""
    return f"{trait.id}: judging the evaluation"

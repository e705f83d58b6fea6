"""One evaluation from beginning to end: what a vector does to its model, on questions that nothing was chosen on.

Everything is asked in one stream of batches, then the second turns and what costs are read off; a judge that knows no
way scores the answers, and a second one those that a verdict rests on. Long work in parts, like making the vector.
"""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime

import proxy
from proxy.engines.base import Engine, ModelInfo
from proxy.engines.blocking import Completion
from proxy.errors import SetupError
from proxy.steering import judge
from proxy.steering.evaluation import figures
from proxy.steering.evaluation.asked import AskedModel, EvaluatedCell, steered
from proxy.steering.evaluation.figures import Scored
from proxy.steering.evaluation.judging import (
    SECOND,
    JudgedAnswer,
    check_second,
    compared,
    for_second,
    judging_label,
    prepared,
    preparing_stages,
    scores,
    wanted,
)
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.evaluation.verdict import verdict_of
from proxy.steering.judge import JudgeKind, Score, Validated, name_of
from proxy.steering.sweep.others import poles_of
from proxy.steering.sweep.unfinished import loops
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work, packed
from vector_store import Agreement, KeptAnswer, PersonaVector, PoleEvaluation, Side
from vector_store.store import slug

KEPT_ANSWERS = 20  # of each pole
KEPT_CHARACTERS = 2000  # of each of them


def evaluate_vector(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    kind: JudgeKind,
    options: VectorEvaluationOptions,
    work: Work,
    others: Sequence[PersonaVector] = (),
    second: JudgeKind | None = None,
) -> PersonaVector:
    """The vector with the evaluations of its poles, still to be saved as a version of its own. `others`: vectors of
    other traits, as `other_traits` finds them, whose directions are a control. `second`: another judge, to compare.
    Blocks for minutes. SetupError for a vector of other weights, or one that was never placed, and where a judge can't
    judge."""
    _check(vector, engine.info)
    if second is not None:
        check_second(name_of(kind), name_of(second))
    judged = prepared(engine, trait, kind, options, work)
    other = None if second is None else prepared(engine, trait, second, options, for_second(work))
    asked = AskedModel(engine.info, trait, vector, options, others)
    answered = _answered(asked, engine, work)
    scored = _scored(asked, answered, judged, work)
    seconds = None if other is None else _seconds(asked, answered, other, work)
    ruled = work.answers("evaluation-rules", ruling_label(trait), engine, asked.ruled_generations(engine))
    now = work.part("created", packed(str), lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    found: dict[Side, PoleEvaluation] = {}
    for side in asked.sides:
        size = len(asked.questions), options.n_samples
        first = figures.tables(scored, side, *size)
        by_second = {} if seconds is None else figures.tables(seconds, side, *size)
        verdict, reason = verdict_of(figures.evidence(first, side, judged.scored))
        found[side] = PoleEvaluation(
            verdict=verdict,
            reason=reason,
            judge=judged.record,
            arms=figures.arms(first, side, judged.scored, by_second),
            costs=figures.costs(asked.ruled, [answer.text for answer in ruled], side, asked.sides),
            answers=_kept(asked, answered, side),
            questions=len(asked.questions),
            max_tokens=options.extent.max_tokens,
            budget=options.budget,
            seed=options.seed,
            created=now,
            agreement=None if seconds is None or other is None else _agreement(scored, seconds, side, other),
            wrong_traits=poles_of(others),
        )
    return dataclasses.replace(
        vector,
        id="",
        parent=vector.id or vector.parent,
        created=now,
        software_version=proxy.__version__,
        evaluations=found,
    )


def stages(
    info: ModelInfo,
    trait: Trait,
    vector: PersonaVector,
    kind: JudgeKind,
    options: VectorEvaluationOptions,
    others: Sequence[PersonaVector] = (),
    second: JudgeKind | None = None,
) -> dict[str, float]:
    """What the work reports while it evaluates, in order, and about how much each is, in answers to be made."""
    asked = AskedModel(info, trait, vector, options, others)
    found = preparing_stages(trait, kind, options)
    if second is not None:
        found |= {f"{what}{SECOND}": size for what, size in preparing_stages(trait, second, options).items()}
    found |= {
        asking_label(trait): len(asked.cells),
        turns_label(trait): len(asked.second_cells),
    }
    cells = [*asked.cells, *asked.second_cells]
    every = wanted(cells, [""] * len(cells), asked.questions, 1)
    found[judging_label(trait)] = judge.JUDGING * len(every)
    if second is not None:
        found[f"{judging_label(trait)}{SECOND}"] = judge.JUDGING * len(compared(every))
    found[ruling_label(trait)] = len(asked.ruled)
    return {what: size for what, size in found.items() if size}


def parts_key(vector_id: str, options: VectorEvaluationOptions, others: Sequence[str]) -> object:
    """What the parts of an evaluation depend on, besides judge, model and trait, for `making.parts_of`. `others` are
    the ids of the vectors of other traits. A second judge has parts of its own name, so that one that is named when
    the answers are there already has these to score."""
    return "vector evaluation", vector_id, options, others


def asking_label(trait: Trait) -> str:
    """What the work is told while the answers are made."""
    return f"{trait.id}: evaluating"


def turns_label(trait: Trait) -> str:
    """What the work is told while second turns are made."""
    return f"{trait.id}: evaluating, second turns"


def ruling_label(trait: Trait) -> str:
    """What the work is told while facts and instructions are asked."""
    return f"{trait.id}: evaluating, facts and instructions"


def _check(vector: PersonaVector, info: ModelInfo) -> None:
    if vector.fingerprint != info.fingerprint:
        raise SetupError(f"the vector {vector.id!r} was taken from other weights than those of {info.id}")
    if not vector.poles:
        raise SetupError(f"where to steer was never measured for the vector {vector.id!r}")


def _answered(asked: AskedModel, engine: Engine, work: Work) -> list[tuple[EvaluatedCell, int, Completion]]:
    """Every answer of both turns, with its cell and turn."""
    trait = asked.trait
    first = work.answers("evaluation", asking_label(trait), engine, asked.generations(engine))
    of_cell = dict(zip(asked.cells, first, strict=True))
    said = [of_cell[cell].text for cell in asked.second_cells]
    second = work.answers("evaluation-turns", turns_label(trait), engine, asked.second_generations(engine, said))
    return [
        *((cell, 1, made) for cell, made in of_cell.items()),
        *((cell, 2, made) for cell, made in zip(asked.second_cells, second, strict=True)),
    ]


def _to_judge(asked: AskedModel, answered: Sequence[tuple[EvaluatedCell, int, Completion]]) -> list[JudgedAnswer]:
    found: list[JudgedAnswer] = []
    for turn, questions in (
        (1, asked.questions),
        (2, [asked.second_question(number) for number in range(len(asked.questions))]),
    ):
        some = [(cell, made.text) for cell, at, made in answered if at == turn]
        found += wanted([cell for cell, _ in some], [text for _, text in some], questions, turn)
    return found


def _scored(
    asked: AskedModel, answered: Sequence[tuple[EvaluatedCell, int, Completion]], judged: Validated, work: Work
) -> list[Scored]:
    every = _to_judge(asked, answered)
    of_cell = {(cell, turn): made for cell, turn, made in answered}
    found = []
    for one, score in zip(every, scores(judged, every, asked.trait, work, "evaluation-scores"), strict=True):
        made = of_cell[one.cell, one.turn]
        found.append(Scored(one, score, made.finish_reason == "length", loops(made.token_ids)))
    return found


def _seconds(
    asked: AskedModel, answered: Sequence[tuple[EvaluatedCell, int, Completion]], other: Validated, work: Work
) -> list[Scored]:
    some = compared(_to_judge(asked, answered))
    told = for_second(work)
    found = scores(other, some, asked.trait, told, f"evaluation-scores-{slug(other.name)}")
    return [Scored(one, score, False, False) for one, score in zip(some, found, strict=True)]


def _agreement(first: Sequence[Scored], second: Sequence[Scored], side: Side, other: Validated) -> Agreement | None:
    by_first: dict[JudgedAnswer, Score | None] = {one.asked: one.score for one in first}
    mine = [one for one in second if one.asked.side == side]
    found = figures.agreement([by_first[one.asked] for one in mine], [one.score for one in mine])
    if found is None:
        return None
    n, together, opposed = found
    return Agreement(judge=other.record, n=n, correlation=together, opposed=opposed)


def _kept(asked: AskedModel, answered: Sequence[tuple[EvaluatedCell, int, Completion]], side: Side) -> list[KeptAnswer]:
    """The first answers at coefficient 1, as they came."""
    return [
        KeptAnswer(question=asked.questions[cell.question], text=made.text[:KEPT_CHARACTERS])
        for cell, turn, made in answered
        if turn == 1 and cell.way == steered(side, 1.0)
    ][:KEPT_ANSWERS]

"""The sweep: what steering by one vector does over a range of coefficients, measured beside its controls.

Every coefficient of both poles, random directions of the same dose, the pole asked for by system prompt and no steering
at all answer the same questions in one stream of batches. The strength is chosen (see calibration.py) on the half of
the evaluate questions that the place was chosen on; every figure that is reported comes from the other half, which
nothing was chosen on. Long work in parts, like making the vector.
"""

import dataclasses
from datetime import UTC, datetime

import proxy
from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.steering import judge
from proxy.steering.extract import JUDGING
from proxy.steering.judge import SCORES, Answer, JudgeKind, Validated
from proxy.steering.sweep.asked import asked_questions, generations, listed
from proxy.steering.sweep.curve import levels_of, pole_curve
from proxy.steering.sweep.options import SweepOptions
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work, packed
from proxy.steering.world import world_of
from vector_store import PersonaVector


def sweep(
    engine: Engine, trait: Trait, vector: PersonaVector, kind: JudgeKind, options: SweepOptions, work: Work
) -> PersonaVector:
    """The vector with the curves of the poles that `options` names, calibrated by them, still to be saved as a version
    of its own. Blocks for minutes. SetupError for a vector of other weights, or one that was never placed, and where
    the judge can't judge."""
    _check(vector, options, engine.info)
    return measure_curve(
        engine, trait, vector, judge.prepare(kind, engine, trait, seed=options.seed, work=work), options, work
    )


def measure_curve(
    engine: Engine, trait: Trait, vector: PersonaVector, judged: Validated, options: SweepOptions, work: Work
) -> PersonaVector:
    """A placed vector of these weights with its curves, calibrated by them, still to be saved as a version of its own.
    By a judge that is there already. Blocks for minutes."""
    asked = listed(options)
    questions = trait.questions_for(engine.info.world).evaluate
    completions = work.answers(
        "sweep", sweeping_label(trait), engine, generations(engine, trait, vector, asked, options)
    )
    texts = [completion.text for completion in completions]
    world = world_of(engine.info.world)
    right = [
        world.fact_right(questions[item.question], text) if world else None
        for item, text in zip(asked, texts, strict=True)
    ]
    # The unsteered answers are judged for every pole that is swept.
    wanted = [
        (side, index)
        for index, item in enumerate(asked)
        for side in ([item.arm.side] if item.arm.side else options.sides)
    ]
    answers = [Answer(questions[asked[index].question], texts[index], trait, side) for side, index in wanted]
    parts = work.in_parts("sweep-scores", judging_label(trait), answers, SCORES, judged.judge.score)
    scores = dict(zip(wanted, (score for part in parts for score in part), strict=True))
    poles, sweeps = dict(vector.poles), dict(vector.sweeps)
    for side in options.sides:
        of_side = [(asked[index], score, right[index]) for (owner, index), score in scores.items() if owner == side]
        poles[side], sweeps[side] = pole_curve(
            vector.poles[side],
            levels_of(of_side, asked_questions(options), options.samples),
            judged.record,
            truthful=world is not None and not world.wants_falsehood(trait.pole(side)),
            seed=options.seed,
        )
    return dataclasses.replace(
        vector,
        id="",
        parent=vector.id or vector.parent,
        # A part, so that work taken up after the vector was saved makes the same vector once more, not a second one.
        created=work.part("created", packed(str), lambda: datetime.now(UTC).isoformat(timespec="seconds")),
        software_version=proxy.__version__,
        poles=poles,
        sweeps=sweeps,
    )


def stages(trait: Trait, kind: JudgeKind, options: SweepOptions) -> dict[str, float]:
    """What the work reports while it sweeps, in order, and about how much each is, in answers to be made."""
    return judge.stages(kind, trait) | curve_stages(trait, options)


def curve_stages(trait: Trait, options: SweepOptions) -> dict[str, float]:
    """What `measure_curve` reports, as `stages` has it."""
    asked = listed(options)
    n_judged = sum(1 if item.arm.side else len(options.sides) for item in asked)
    return {sweeping_label(trait): len(asked), judging_label(trait): JUDGING * n_judged}


def parts_key(vector_id: str, options: SweepOptions) -> object:
    """What the parts of a sweep depend on, besides judge, model and trait, for `making.parts_of`."""
    return "sweep", vector_id, options


def sweeping_label(trait: Trait) -> str:
    return f"{trait.id}: sweeping"


def judging_label(trait: Trait) -> str:
    return f"{trait.id}: sweeping, judging"


def _check(vector: PersonaVector, options: SweepOptions, info: ModelInfo) -> None:
    if vector.fingerprint != info.fingerprint:
        raise SetupError(f"the vector {vector.id!r} was taken from other weights than those of {info.id}")
    for side in options.sides:
        if side not in vector.poles:
            raise SetupError(f"where to steer {vector.pole(side)!r} was never measured for the vector {vector.id!r}")

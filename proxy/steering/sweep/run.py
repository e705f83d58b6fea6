"""The sweep: what steering by one vector does over a range of coefficients, measured beside its controls.

Every coefficient of both poles, random directions and those of other traits of the same dose, the pole asked for by
system prompt and no steering at all answer the same questions, one strength after the other, in one stream of batches.
The strength is chosen (see calibration.py) on the half of
the evaluate questions that the place was chosen on; every figure that is reported comes from the other half, which
nothing was chosen on. Long work in parts, like making the vector.
"""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime

import proxy
from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.steering import judge
from proxy.steering.extract import JUDGING
from proxy.steering.judge import JudgeKind, Validated
from proxy.steering.sweep.asked import all_listed, generations
from proxy.steering.sweep.curve import pole_curve
from proxy.steering.sweep.judging import Curves, judging_label, n_judged
from proxy.steering.sweep.options import SweepOptions
from proxy.steering.sweep.others import poles_of
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work, packed
from proxy.steering.world import world_of
from vector_store import PersonaVector


def sweep(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    kind: JudgeKind,
    options: SweepOptions,
    work: Work,
    others: Sequence[PersonaVector] = (),
) -> PersonaVector:
    """The vector with the curves of the poles that `options` names, calibrated by them, still to be saved as a version
    of its own. `others`: vectors of other traits, as `other_traits` finds them, whose directions are a control. Blocks
    for minutes. SetupError for a vector of other weights, or one that was never placed, and where the judge can't
    judge."""
    _check(vector, options, engine.info)
    judged = judge.prepare(kind, engine, trait, seed=options.seed, work=work)
    return measure_curve(engine, trait, vector, judged, options, work, others)


def measure_curve(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    judged: Validated,
    options: SweepOptions,
    work: Work,
    others: Sequence[PersonaVector] = (),
) -> PersonaVector:
    """A placed vector of these weights with its curves, calibrated by them, still to be saved as a version of its own.
    By a judge that is there already; `others` are as for `sweep`. The work is told of a PolePoint as soon as all its
    answers are judged. Blocks for minutes."""
    curves = Curves(engine.info, trait, vector, judged, options, work, bool(others))
    asked = curves.asked
    made = generations(engine, trait, vector, asked, options, others)
    for found in work.answers_by_stretch("sweep", sweeping_label(trait), engine, made):
        curves.judge(found)
    poles, sweeps = dict(vector.poles), dict(vector.sweeps)
    world = world_of(engine.info.world)
    for side in options.sides:
        poles[side], sweeps[side] = pole_curve(
            vector.poles[side],
            curves.levels(side),
            judged.record,
            truthful=world is not None and not world.wants_falsehood(trait.pole(side)),
            seed=options.seed,
            keep_strength=options.keep_strength,
            wrong_traits=poles_of(others),
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
        # What was found of a pole was found at its strength of before.
        evaluations={side: found for side, found in vector.evaluations.items() if side not in options.sides},
    )


def stages(trait: Trait, kind: JudgeKind, options: SweepOptions, *, wrong_trait: bool) -> dict[str, float]:
    """What the work reports while it sweeps, in order, and about how much each is, in answers to be made.
    `wrong_trait`: there are other traits' vectors to compare with."""
    return judge.stages(kind, trait) | curve_stages(trait, options, wrong_trait=wrong_trait)


def curve_stages(trait: Trait, options: SweepOptions, *, wrong_trait: bool = False) -> dict[str, float]:
    """What `measure_curve` reports, as `stages` has it."""
    asked = all_listed(options, wrong_trait=wrong_trait)
    return {sweeping_label(trait): len(asked), judging_label(trait): JUDGING * n_judged(asked, options)}


def parts_key(vector_id: str, options: SweepOptions, others: Sequence[str]) -> object:
    """What the parts of a sweep depend on, besides judge, model and trait, for `making.parts_of`. `others` are the ids
    of the vectors of other traits."""
    return "sweep", vector_id, options, others


def sweeping_label(trait: Trait) -> str:
    """What the work is told while the answers are made."""
    return f"{trait.id}: sweeping"


def _check(vector: PersonaVector, options: SweepOptions, info: ModelInfo) -> None:
    if vector.fingerprint != info.fingerprint:
        raise SetupError(f"the vector {vector.id!r} was taken from other weights than those of {info.id}")
    for side in options.sides:
        if side not in vector.poles:
            raise SetupError(f"where to steer {vector.pole(side)!r} was never measured for the vector {vector.id!r}")

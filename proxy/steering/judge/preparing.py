"""A judge by its kind, ready to be used: calibrated where it has to be, and validated on held-out answers."""

from collections.abc import Sequence

from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.judge_settings import JUDGE_KINDS
from proxy.steering.judge.base import Answer, JudgeKind, NamedJudge, check_judged
from proxy.steering.judge.likelihood import LikelihoodJudge, calibrate
from proxy.steering.judge.linear import READINGS, LinearJudge, StateReader
from proxy.steering.judge.model import ModelJudge
from proxy.steering.judge.reading import AnswerEvidence, EvidenceReader
from proxy.steering.judge.rollouts import (
    CALIBRATING_PAIRS,
    USUAL_ASKING,
    Asking,
    LabelledAnswer,
    calibration_label,
    calibration_samples,
    held_out_label,
    held_out_samples,
)
from proxy.steering.judge.rules import RulesJudge
from proxy.steering.judge.validation import N_DAMAGED, Validated, validate, validation_label
from proxy.steering.traits.trait import N_QUESTIONS, Trait
from proxy.steering.work import Work, packed
from proxy.steering.world import world_of
from vector_store import CONDITIONS, SIDES, Condition

JUDGING = 0.25  # an answer's judging, as a share of what making it takes
CALIBRATED = ("likelihood", "reading")  # kinds of judge that answers of the model have to be known to
MIN_ANSWERS = 8  # with something in them, of each condition: fewer are nothing to calibrate by


def default_kind(info: ModelInfo, trait: Trait) -> str:
    """The rules of the model's own world where they know the trait's poles, else the likelihood ratio, which asks for
    nothing that a model might be unable to do."""
    world = world_of(info.world)
    return "rules" if world and all(trait.pole(side) in world.poles for side in SIDES) else "likelihood"


def prepare(
    kind: JudgeKind,
    engine: Engine,
    trait: Trait,
    *,
    seed: int,
    work: Work,
    asking: Asking = USUAL_ASKING,
    known: Sequence[LabelledAnswer] | None = None,
) -> Validated:
    """The judge for answers of `engine`, validated on some. Blocks. SetupError where it can't judge, or the model
    leaves nothing to calibrate by. It is calibrated by answers that are `known` already, else by some made for it."""
    judge = _judge(kind, engine, trait, seed, work, known)
    # A judge that can't do its work is found out before the long part, not after it.
    texts = [Answer(trait.questions.extract[0], trait.description, trait, side) for side in SIDES]
    check_judged(judge.score(texts), judge.name)
    return validate(judge, held_out_samples(engine, trait, seed, work, asking), trait, work)


def stages(kind: JudgeKind, trait: Trait, asking: Asking = USUAL_ASKING, known: bool = False) -> dict[str, float]:
    """What the work reports while it prepares, in order, and about how much each is, in answers to be made. `known`:
    there are answers to calibrate by already."""
    n_held_out = asking.n_held_out
    found: dict[str, float] = {}
    if kind in CALIBRATED:
        n_answers = N_QUESTIONS * len(CONDITIONS)
        found = {} if known else {calibration_label(trait): n_answers}
        found |= {reading_label(trait): JUDGING * n_answers}
    validating = JUDGING * (len(SIDES) * n_held_out + 2 * N_DAMAGED)
    return found | {held_out_label(trait): n_held_out, validation_label(trait): validating}


def reading_label(trait: Trait) -> str:
    return f"{trait.id}: calibrating the judge"


def _judge(
    kind: JudgeKind,
    engine: Engine,
    trait: Trait,
    seed: int,
    work: Work,
    known: Sequence[LabelledAnswer] | None,
) -> NamedJudge:
    if not isinstance(kind, str):
        return kind
    if kind == "rules":
        world = world_of(engine.info.world)
        if world is None:
            raise SetupError(
                f"no rules can judge {engine.info.id}: it is of no world that has rules; let likelihood judge, which "
                "every model can do"
            )
        return RulesJudge(world)
    if kind in CALIBRATED:
        samples = calibration_samples(engine, trait, seed, work) if known is None else known
        return (_ratio if kind == "likelihood" else _linear)(engine, trait, samples, work)
    if kind == "model":
        return ModelJudge(engine)
    raise SetupError(f"there is no judge {kind!r}; possible: {', '.join(JUDGE_KINDS)}")


def _ratio(engine: Engine, trait: Trait, samples: Sequence[LabelledAnswer], work: Work) -> LikelihoodJudge:
    reader = EvidenceReader(engine, [trait.instructions[pair] for pair in CALIBRATING_PAIRS])
    asked = [(sample.question, sample.text) for sample in samples]
    parts = work.in_parts("judge-readings", reading_label(trait), asked, packed(list[AnswerEvidence]), reader.read)
    found = [
        (sample.condition, reading)
        for sample, reading in zip(samples, [reading for part in parts for reading in part], strict=True)
        if reading.n_tokens
    ]
    conditions = [condition for condition, _ in found]
    _check_said(conditions, engine, trait)
    return LikelihoodJudge(trait, reader, calibrate(conditions, [reading for _, reading in found]))


def _linear(engine: Engine, trait: Trait, samples: Sequence[LabelledAnswer], work: Work) -> LinearJudge:
    reader = StateReader(engine)
    asked = [(sample.question, sample.text) for sample in samples]
    parts = work.in_parts("judge-states", reading_label(trait), asked, READINGS, reader.read)
    readings = [reading for part in parts for reading in part]
    reader.know(asked, readings)  # those of parts that an earlier process made
    found = [one for one in zip(samples, readings, strict=True) if one[1].evidence.n_tokens]
    _check_said([sample.condition for sample, _ in found], engine, trait)
    return LinearJudge(trait, reader, [sample for sample, _ in found], [reading for _, reading in found])


def _check_said(conditions: Sequence[Condition], engine: Engine, trait: Trait) -> None:
    """SetupError where too few answers of some condition have anything in them."""
    if any(conditions.count(condition) < MIN_ANSWERS for condition in CONDITIONS):
        raise SetupError(
            f"{engine.info.id} said too little to the questions of {trait.id!r} to calibrate a judge by: at least "
            f"{MIN_ANSWERS} answers under each instruction are needed"
        )

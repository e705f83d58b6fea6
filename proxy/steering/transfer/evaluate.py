"""What a transferred vector is worth: it steers beside the target's own vector and beside everything that might only
look like a transfer, at the same place and relative dose, in one stream of batches.

Nothing that is chosen sees what is reported. Maps, their pairing of blocks and their method were chosen on text that
names no trait; place and dose are the native vector's own, found on the half of the evaluate questions that is not
asked here, or those of the other traits' native vectors. A judge that knows no arm scores the answers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.engines.base import Engine, ModelInfo
from proxy.steering import judge, limited
from proxy.steering.judge import SCORES, Answer, JudgeKind, Validated
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.arms import (
    ACTIVATIONS,
    N_ACTIVATIONS,
    ArmKind,
    Arms,
    EvaluationOptions,
    Pole,
    read_activations,
    reported_questions,
)
from proxy.steering.transfer.figures import Evaluation, Table, Tables, figures_of
from proxy.steering.transfer.files import TransferInfo
from proxy.steering.work import Parts, Work
from proxy.steering.world import world_of
from vector_store import SIDES, PersonaVector

ANSWERING = "answering"
# The arms whose answers are judged for the other traits too.
SPECIFIC: tuple[ArmKind, ...] = ("none", "native", "transferred", "shuffled", "prompt")


def evaluate(
    engine: Engine,
    traits: Mapping[str, Trait],
    poles: Sequence[Pole],
    transfer: TransferInfo,
    kind: JudgeKind | None,
    options: EvaluationOptions,
    work: Work,
    others: Sequence[PersonaVector] = (),
) -> Evaluation:
    """Measure the vectors that `transfer` carried to `engine`'s model: both `poles` of each of `traits`. Blocks for
    minutes. Without `kind` each trait has its usual judge. `others`: carried vectors of other traits. SetupError where
    a judge can't judge."""
    judges = {trait.id: _prepared(engine, trait, kind, options, work) for trait in traits.values()}
    varied = "random_covariance" in options.kinds
    activations = read_activations(engine, traits, options.seed, work) if varied else {}
    arms = Arms(engine, poles, reported_questions(traits, engine.info.world), activations, options, others)
    completions = work.answers("arms", ANSWERING, engine, arms.generations())
    texts = [completion.text for completion in completions]
    tables = _judged(arms, judges, texts, work)
    return figures_of(transfer, arms, judges, tables, texts, datetime.now(UTC).isoformat(timespec="seconds"))


def stages(
    info: ModelInfo, traits: Mapping[str, Trait], kind: JudgeKind | None, options: EvaluationOptions
) -> dict[str, float]:
    """What the work reports, in order, and about how much each is, in answers to be made."""
    found: dict[str, float] = {}
    for trait in traits.values():
        usual, budget = _usual(info, trait, kind, options), options.limited
        found |= judge.stages(usual, trait) if budget is None else limited.preparing_stages(trait, usual, budget)
    each = len(SIDES) * len(options.kinds) * options.samples
    asked = {id_: float(each * len(questions)) for id_, questions in reported_questions(traits, info.world).items()}
    found |= {ACTIVATIONS: N_ACTIVATIONS} if "random_covariance" in options.kinds else {}
    found |= {ANSWERING: sum(asked.values())}
    return found | {judging_label(id_): judge.JUDGING * n_answers for id_, n_answers in asked.items()}


def parts_key(transfer: TransferInfo, options: EvaluationOptions, vector_ids: Sequence[str]) -> object:
    """What the parts of an evaluation depend on, besides judge, model and traits, for `making.parts_of`."""
    return "evaluation", transfer.id, options, vector_ids


def judging_label(trait_id: str) -> str:
    return f"{trait_id}: judging"


def _usual(info: ModelInfo, trait: Trait, kind: JudgeKind | None, options: EvaluationOptions) -> JudgeKind:
    """Who judges: `kind`, else the trait's usual judge."""
    if kind is not None:
        return kind
    return limited.usual_judge(judge.default_kind(info, trait), None, options.limited)


def _prepared(
    engine: Engine, trait: Trait, kind: JudgeKind | None, options: EvaluationOptions, work: Work
) -> Validated:
    usual, budget = _usual(engine.info, trait, kind, options), options.limited
    within = dataclasses.replace(work, parts=_Within(work.parts, trait.id))
    if budget is None:
        return judge.prepare(usual, engine, trait, seed=options.seed, work=within)
    return limited.prepared(engine, trait, usual, budget, options.seed, within)


@dataclass(frozen=True)
class _Within:
    """Parts of one trait among those of all."""

    parts: Parts
    name: str

    def read(self, name: str) -> bytes | None:
        return self.parts.read(f"{self.name}-{name}")

    def write(self, name: str, content: bytes) -> None:
        self.parts.write(f"{self.name}-{name}", content)


def _judged(arms: Arms, judges: Mapping[str, Validated], texts: Sequence[str], work: Work) -> Tables:
    """Every answer judged for its own pole, those of some arms for all poles."""
    world = world_of(arms.engine.info.world)
    right = [
        world.fact_right(arms.question(asked), text) if world else None
        for asked, text in zip(arms.asked, texts, strict=True)
    ]
    tables: dict[tuple[int, ArmKind, int], Table] = {}
    for id_, judged in judges.items():
        wanted = [
            (number, index)
            for number, asked in enumerate(arms.asked)
            for index, pole in enumerate(arms.poles)
            if pole.trait.id == id_ and (index == asked.pole or asked.kind in SPECIFIC)
        ]
        answers = [
            Answer(arms.question(arms.asked[number]), texts[number], arms.poles[index].trait, arms.poles[index].side)
            for number, index in wanted
        ]
        parts = work.in_parts(f"{id_}-scores", judging_label(id_), answers, SCORES, judged.judge.score)
        scores = [score for part in parts for score in part]
        for (number, index), score in zip(wanted, scores, strict=True):
            asked = arms.asked[number]
            key = asked.pole, asked.kind, index
            if key not in tables:
                tables[key] = Table.empty(arms.n_questions(asked.pole), arms.n_samples(asked.pole, asked.kind))
            tables[key].put(asked.question, asked.sample, score, right[number])
    return tables

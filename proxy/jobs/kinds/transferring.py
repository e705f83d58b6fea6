"""The kinds of job of a transfer from one model to another, the job's own: maps are fitted, a vector is carried over by
them, and what such vectors are worth is measured."""

import hashlib
from pathlib import Path

import msgspec

import proxy
from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.kinds.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Samples, Seed
from proxy.protocol.transfers import AnswerTokens, Documents, FittedOn
from proxy.steering import judge, limited, making, measuring
from proxy.steering.budget import BUDGETS, THOROUGH, BudgetName
from proxy.steering.judge import JudgeKind, name_of
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.apply import apply, check
from proxy.steering.transfer.arms import EvaluationOptions, native_vector, others_of, poles_of
from proxy.steering.transfer.evaluate import evaluate, parts_key
from proxy.steering.transfer.evaluate import stages as evaluation_stages
from proxy.steering.transfer.evaluations import keep
from proxy.steering.transfer.files import find
from proxy.steering.transfer.fit import ANSWER_TOKENS, Corpus, corpus_of, fit, fit_parts, stages
from proxy.steering.transfer.text import N_DOCUMENTS
from proxy.steering.work import Work
from vector_store import PersonaVector

TRANSFERRING = "transfer"
APPLYING = "transfer-apply"
EVALUATING = "transfer-evaluate"


class TransferParameters(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is the id of the model that vectors are carried from. For the others see the command `transfer fit`."""

    source: str
    text: FittedOn = "built-in"
    documents: Documents = N_DOCUMENTS
    answer_tokens: AnswerTokens = ANSWER_TOKENS
    blocks: list[int] | None = None
    seed: Seed = 0


def transferring_kind(around: Surroundings, folder: Path, own: Corpus | None = None) -> Kind:
    """The kind that fits maps. Transfers are kept below `folder`. `own` is text of one's own that both models read,
    whatever the parameters say: no request can name any."""

    def run(engine: Engine, asked: TransferParameters, task: Task) -> Done:
        traits = around.traits()
        wanted = asked.seed, asked.documents, asked.answer_tokens
        corpus = own or corpus_of(asked.text, traits, engine.info.world, *wanted)
        with around.judges.lend(asked.source, task.check) as source:
            parts = fit_parts(around.parts_folder, source.info, engine.info, corpus, asked.blocks)
            work = task.work(parts, stages(len(corpus.documents)), around.max_running)
            info = fit(source, engine, corpus, traits, folder, work, asked.blocks)
        task.check()
        return Done({"transfer": info.id}, parts.discard)

    return Kind(TRANSFERRING, TransferParameters, run)


class ApplyParameters(Parameters, frozen=True, kw_only=True):
    """`source` is the id of the model that the vector of `trait` is carried from, `transfer` that of the maps, by
    default the newest. `version`, the vector's id, is found when the work begins. `budget`: how much is done to find
    place and strength."""

    source: str
    transfer: str | None = None
    version: str = ""
    seed: Seed = 0
    budget: BudgetName = THOROUGH

    @property
    def work(self) -> object:
        """What the parts depend on besides judge, model and trait."""
        return self.transfer, self.version, self.seed, self.budget

    def usual(self, kind: JudgeKind) -> JudgeKind:
        """Who judges where `kind` does by default."""
        return limited.usual_judge(kind, self.judge, BUDGETS.get(self.budget))


def settled(
    around: Surroundings, folder: Path, info: ModelInfo, trait: Trait, asked: ApplyParameters
) -> ApplyParameters:
    """With the transfer and the vector that are meant. NotFound and SetupError for all that can be known to be wrong
    before any work is done."""
    transfer = find(folder, asked.source, info, asked.transfer)
    vector = native_vector(around.store, asked.source, transfer.source.fingerprint, trait)
    check(info, trait, vector, transfer)
    return msgspec.structs.replace(asked, transfer=transfer.id, version=vector.id)


def applying_kind(around: Surroundings, folder: Path) -> Kind:
    """The kind that carries a vector over, and measures where and how strongly it steers."""

    def make(engine: Engine, trait: Trait, kind: JudgeKind, asked: ApplyParameters, work: Work) -> PersonaVector:
        transfer = find(folder, asked.source, engine.info, asked.transfer)
        vector, budget, kind = around.store.get(asked.version), BUDGETS.get(asked.budget), asked.usual(kind)
        if budget is None:
            judged = judge.prepare(kind, engine, trait, seed=asked.seed, work=work)
        else:
            judged = limited.prepared(engine, trait, kind, budget, asked.seed, work)
        return apply(engine, trait, vector, transfer, folder, judged, seed=asked.seed, work=work, budget=budget)

    def stages(trait: Trait, info: ModelInfo, kind: JudgeKind, asked: ApplyParameters) -> dict[str, float]:
        budget, kind = BUDGETS.get(asked.budget), asked.usual(kind)
        if budget is None:
            return judge.stages(kind, trait) | measuring.stages(trait, info)
        n_places = len(find(folder, asked.source, info, asked.transfer).maps)
        preparing = limited.preparing_stages(trait, kind, budget) | measuring.own_stages(trait, info)
        return preparing | limited.placing_stages(trait, budget, n_places)

    def found(engine: Engine, trait: Trait, asked: ApplyParameters) -> ApplyParameters:
        return settled(around, folder, engine.info, trait, asked)

    return vector_kind(APPLYING, ApplyParameters, stages, make, around, found)


class EvaluationParameters(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is the id of the model that the vectors of `traits` were carried from, `transfer` that of the maps, by
    default the newest; `judge` is a judge's name. For the others see EvaluationOptions."""

    source: str
    traits: list[str]
    transfer: str | None = None
    samples: Samples = EvaluationOptions.samples
    seed: Seed = EvaluationOptions.seed
    budget: BudgetName = EvaluationOptions.budget
    judge: str | None = None


def evaluating_kind(around: Surroundings, folder: Path) -> Kind:
    """The kind that measures what carried vectors are worth, and keeps the figures beside the maps."""

    def run(engine: Engine, asked: EvaluationParameters, task: Task) -> Done:
        known = around.traits()
        for id_ in asked.traits:
            if id_ not in known:
                raise SetupError(f"There is no trait {id_!r} any more.")
        traits = {id_: known[id_] for id_ in asked.traits}
        options = EvaluationOptions(asked.samples, asked.seed, asked.budget)
        transfer = find(folder, asked.source, engine.info, asked.transfer)
        poles = poles_of(engine.info, traits, around.store, transfer, folder)
        others = others_of(engine.info, poles, around.store, transfer, folder)
        vectors = [vector.id for pole in poles for vector in (pole.source, pole.native) if vector is not None]
        vectors += [other.parent or "" for other in others]
        with around.judges.opened(asked.judge, engine, task.check) as kind:
            key = parts_key(transfer, options, vectors), None if kind is None else name_of(kind)
            parts = making.parts_of(around.parts_folder, engine, list(traits.values()), key)
            work = task.work(parts, evaluation_stages(engine.info, traits, kind, options), around.max_running)
            found = evaluate(engine, traits, poles, transfer, kind, options, work, others)
        task.check()
        digest = hashlib.sha256(msgspec.json.encode((proxy.__version__, engine.info, asked.traits, key))).hexdigest()
        keep(folder, id_ := f"evaluation-{digest[:12]}", found)
        return Done({"transfer": transfer.id, "evaluation": id_}, parts.discard)

    return Kind(EVALUATING, EvaluationParameters, run)

"""The kind of job that evaluates a vector: measures what it does beside every other way, and what it costs."""

import msgspec

from proxy.engines.base import Engine, ModelInfo
from proxy.jobs.kinds.base import Kind
from proxy.jobs.kinds.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Samples, Seed
from proxy.steering.budget import BudgetName
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.evaluation.run import evaluate_vector, parts_key, stages
from proxy.steering.judge import JudgeKind
from proxy.steering.limited import usual_judge
from proxy.steering.sweep import other_traits
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from proxy.vectors import chosen
from vector_store import PersonaVector

EVALUATION = "evaluation"


class VectorEvaluationParameters(Parameters, frozen=True, kw_only=True):
    """`version` is the id of the vector of `trait` that is evaluated, `others` are those of the other traits' vectors
    it is compared with, which the job looks for when it begins. `second_judge` is a judge's name, None for none. For
    the rest see VectorEvaluationOptions."""

    version: str
    budget: BudgetName = VectorEvaluationOptions.budget
    samples: Samples | None = VectorEvaluationOptions.samples
    seed: Seed = VectorEvaluationOptions.seed
    second_judge: str | None = None
    others: list[str] | msgspec.UnsetType = msgspec.UNSET

    @property
    def options(self) -> VectorEvaluationOptions:
        return VectorEvaluationOptions(self.budget, self.samples, self.seed)

    @property
    def work(self) -> object:
        """What the parts depend on. The command `evaluate` has the same, so that each goes on with the other's
        parts."""
        return parts_key(self.version, self.options, self.others or [])

    def usual(self, kind: JudgeKind) -> JudgeKind:
        """Who judges where `kind` does by default."""
        return usual_judge(kind, self.judge, self.options.limited)


def evaluation_kind(around: Surroundings) -> Kind:
    """The kind of job that evaluates a vector."""

    def vector_of(info: ModelInfo, trait: Trait, asked: VectorEvaluationParameters) -> PersonaVector:
        return chosen(around.store, info.id, trait.id, asked.version, info.fingerprint)

    def others_of(asked: VectorEvaluationParameters) -> list[PersonaVector]:
        return [around.store.get(id_) for id_ in asked.others or []]

    def make(
        engine: Engine, trait: Trait, kind: JudgeKind, asked: VectorEvaluationParameters, work: Work
    ) -> PersonaVector:
        vector, others = vector_of(engine.info, trait, asked), others_of(asked)
        if asked.second_judge is None:
            return evaluate_vector(engine, trait, vector, asked.usual(kind), asked.options, work, others)
        with around.judges.opened(asked.second_judge, engine, work.check) as other:
            return evaluate_vector(engine, trait, vector, asked.usual(kind), asked.options, work, others, other)

    def found(trait: Trait, info: ModelInfo, kind: JudgeKind, asked: VectorEvaluationParameters) -> dict[str, float]:
        vector, others = vector_of(info, trait, asked), others_of(asked)
        return stages(info, trait, vector, asked.usual(kind), asked.options, others, asked.second_judge)

    def settled(engine: Engine, trait: Trait, asked: VectorEvaluationParameters) -> VectorEvaluationParameters:
        others = [other.id for other in other_traits(around.store, vector_of(engine.info, trait, asked))]
        return msgspec.structs.replace(asked, others=others)

    return vector_kind(EVALUATION, VectorEvaluationParameters, found, make, around, settled)

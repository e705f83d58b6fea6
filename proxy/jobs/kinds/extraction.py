"""The kind of job that makes a persona vector of a model's own answers."""

from proxy.engines.base import Engine, ModelInfo
from proxy.jobs.kinds.base import Kind
from proxy.jobs.kinds.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Questions, Rollouts, Seed
from proxy.steering import making
from proxy.steering.budget import THOROUGH, BudgetName
from proxy.steering.judge import JudgeKind
from proxy.steering.limited import usual_judge
from proxy.steering.making import ExtractionOptions
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import PersonaVector

EXTRACTION = "extraction"


class ExtractionParameters(Parameters, frozen=True):
    """How many answers an extraction asks for, to how many questions, and the seed of all; or within which budget, that
    says the numbers itself."""

    rollouts: Rollouts = ExtractionOptions.rollouts
    questions: Questions = ExtractionOptions.questions
    seed: Seed = ExtractionOptions.seed
    budget: BudgetName = THOROUGH

    @property
    def options(self) -> ExtractionOptions:
        return ExtractionOptions(self.rollouts, self.questions, self.seed, self.budget)

    @property
    def work(self) -> object:
        """What the parts depend on. The command `extract` has the same, so that each goes on with the other's parts."""
        return self.options, self.options.limited

    def usual(self, kind: JudgeKind) -> JudgeKind:
        """Who judges where `kind` does by default."""
        return usual_judge(kind, self.judge, self.options.limited)


def extraction(around: Surroundings) -> Kind:
    """The kind of job that extracts a vector."""

    def make(engine: Engine, trait: Trait, kind: JudgeKind, asked: ExtractionParameters, work: Work) -> PersonaVector:
        return making.make_by_kind(engine, trait, asked.usual(kind), asked.options, work)

    def stages(trait: Trait, info: ModelInfo, kind: JudgeKind, asked: ExtractionParameters) -> dict[str, float]:
        return making.stages_by_kind(trait, info, asked.usual(kind), asked.options)

    return vector_kind(EXTRACTION, ExtractionParameters, stages, make, around)

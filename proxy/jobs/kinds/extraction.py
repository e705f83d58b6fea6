"""The kind of job that makes a persona vector of a model's own answers."""

from proxy.engines.base import Engine, ModelInfo
from proxy.jobs.kinds.base import Kind
from proxy.jobs.kinds.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Questions, Rollouts, Seed
from proxy.steering import judge, making
from proxy.steering.judge import JudgeKind
from proxy.steering.making import ExtractionOptions
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import PersonaVector

EXTRACTION = "extraction"


class ExtractionParameters(Parameters, frozen=True):
    """How many answers an extraction asks for, to how many questions, and the seed of all."""

    rollouts: Rollouts = ExtractionOptions.rollouts
    questions: Questions = ExtractionOptions.questions
    seed: Seed = ExtractionOptions.seed

    @property
    def work(self) -> ExtractionOptions:
        """What the parts depend on. The command `extract` has the same, so that each goes on with the other's parts."""
        return ExtractionOptions(self.rollouts, self.questions, self.seed)


def extraction(around: Surroundings) -> Kind:
    """The kind of job that extracts a vector."""

    def make(engine: Engine, trait: Trait, kind: JudgeKind, asked: ExtractionParameters, work: Work) -> PersonaVector:
        judged = judge.prepare(kind, engine, trait, seed=asked.seed, work=work)
        return making.make_vector(engine, trait, judged, asked.work, work)

    def stages(trait: Trait, info: ModelInfo, kind: JudgeKind, asked: ExtractionParameters) -> dict[str, float]:
        return judge.stages(kind, trait) | making.stages(trait, info.n_layers, asked.work)

    return vector_kind(
        EXTRACTION,
        ExtractionParameters,
        stages,
        make,
        around,
    )

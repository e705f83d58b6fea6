"""The kind of job that measures an imported vector in a model: where and how strongly it steers."""

from proxy.engines.base import Engine, ModelInfo
from proxy.jobs.kinds.base import Kind
from proxy.jobs.kinds.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Seed
from proxy.steering import judge, measuring
from proxy.steering.judge import JudgeKind
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from proxy.vectors import chosen
from vector_store import PersonaVector

MEASURING = "measuring"


class MeasuringParameters(Parameters, frozen=True):
    """`version` is the id of the imported vector of `trait` that is to be measured."""

    version: str
    seed: Seed = 0


def measuring_kind(around: Surroundings) -> Kind:
    """The kind of job that measures an imported vector."""

    def make(engine: Engine, trait: Trait, kind: JudgeKind, asked: MeasuringParameters, work: Work) -> PersonaVector:
        judged = judge.prepare(kind, engine, trait, seed=asked.seed, work=work)
        vector = chosen(around.store, engine.info.id, trait.id, asked.version, engine.info.fingerprint)
        return measuring.measure(engine, trait, vector, judged, seed=asked.seed, work=work)

    def stages(trait: Trait, info: ModelInfo, kind: JudgeKind, asked: MeasuringParameters) -> dict[str, float]:
        return judge.stages(kind, trait) | measuring.stages(trait, info)

    return vector_kind(MEASURING, MeasuringParameters, stages, make, around)

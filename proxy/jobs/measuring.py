"""The kind of job that measures an imported vector in a model: where and how strongly it steers."""

from proxy.engines.base import Engine, ModelInfo
from proxy.jobs.kinds import Kind
from proxy.jobs.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Seed
from proxy.steering import measuring
from proxy.steering.judge import Judge
from proxy.steering.traits import Trait
from proxy.steering.work import Work
from proxy.vectors import chosen
from vector_store import PersonaVector

MEASURING = "measuring"


class MeasuringParameters(Parameters, frozen=True):
    """`version` is the id of the imported vector of `trait` that is to be measured."""

    version: str
    seed: Seed = 0


def measuring_kind(around: Surroundings) -> Kind:
    """The kind."""

    def make(engine: Engine, trait: Trait, judge: Judge, asked: MeasuringParameters, work: Work) -> PersonaVector:
        vector = chosen(around.store, engine.info.id, trait.id, asked.version)
        return measuring.measure(engine, trait, vector, judge, seed=asked.seed, work=work)

    def stages(trait: Trait, info: ModelInfo, asked: MeasuringParameters) -> dict[str, float]:
        return measuring.stages(trait, info)

    return vector_kind(MEASURING, MeasuringParameters, stages, make, around)

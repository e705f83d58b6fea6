"""The kind of job that sweeps a vector: measures it over a range of coefficients, and sets what coefficient 1 is."""

import msgspec

from proxy.engines.base import Engine, ModelInfo
from proxy.jobs.kinds.base import Kind
from proxy.jobs.kinds.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Coefficients, Samples, Seed
from proxy.steering.judge import JudgeKind
from proxy.steering.sweep import SweepOptions, other_traits, parts_key, stages, sweep
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from proxy.vectors import chosen
from vector_store import PersonaVector

SWEEPING = "sweep"


class SweepParameters(Parameters, frozen=True, kw_only=True):
    """`version` is the id of the vector of `trait` that is swept, `others` are those of the other traits' vectors it is
    compared with, which the job looks for when it begins; for the rest see SweepOptions."""

    version: str
    coefficients: Coefficients = msgspec.field(default_factory=lambda: list(SweepOptions.coefficients))
    samples: Samples = SweepOptions.samples
    seed: Seed = SweepOptions.seed
    keep_strength: bool = SweepOptions.keep_strength
    others: list[str] | msgspec.UnsetType = msgspec.UNSET

    @property
    def options(self) -> SweepOptions:
        return SweepOptions(tuple(self.coefficients), self.samples, self.seed, keep_strength=self.keep_strength)

    @property
    def work(self) -> object:
        """What the parts depend on. The command `sweep` has the same, so that each goes on with the other's parts."""
        return parts_key(self.version, self.options, self.others or [])


def sweeping_kind(around: Surroundings) -> Kind:
    """The kind of job that sweeps a vector."""

    def make(engine: Engine, trait: Trait, kind: JudgeKind, asked: SweepParameters, work: Work) -> PersonaVector:
        vector = chosen(around.store, engine.info.id, trait.id, asked.version, engine.info.fingerprint)
        others = [around.store.get(id_) for id_ in asked.others or []]
        return sweep(engine, trait, vector, kind, asked.options, work, others)

    def found(trait: Trait, info: ModelInfo, kind: JudgeKind, asked: SweepParameters) -> dict[str, float]:
        return stages(trait, kind, asked.options, wrong_trait=bool(asked.others))

    def settled(engine: Engine, trait: Trait, asked: SweepParameters) -> SweepParameters:
        vector = chosen(around.store, engine.info.id, trait.id, asked.version, engine.info.fingerprint)
        others = [other.id for other in other_traits(around.store, vector)]
        return msgspec.structs.replace(asked, others=others)

    return vector_kind(SWEEPING, SweepParameters, found, make, around, settled)

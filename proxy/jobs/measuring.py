"""The kind of job that measures an imported vector in a model: where and how strongly it steers."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.jobs.estimate import Estimate
from proxy.jobs.kinds import Done, Kind, Task
from proxy.protocol.jobs import Seed
from proxy.steering import making, measuring
from proxy.steering.judge import judge_for
from proxy.steering.making import parts_of
from proxy.steering.traits import Trait
from proxy.steering.work import Work
from proxy.vectors import chosen
from vector_store import VectorStore

MEASURING = "measuring"


class MeasuringParameters(msgspec.Struct, frozen=True):
    """`version` is the id of the imported vector of `trait` that is to be measured."""

    trait: str
    version: str
    seed: Seed = 0


def measuring_kind(
    traits: Callable[[], Mapping[str, Trait]], store: VectorStore, parts_folder: Path, max_running: int
) -> Kind:
    """The kind. It gives the engine `max_running` answers at once, so that chats find places beside them."""

    def run(engine: Engine, parameters: MeasuringParameters, task: Task) -> Done:
        trait = traits().get(parameters.trait)
        if trait is None:
            raise SetupError(f"There is no trait {parameters.trait!r} any more.")
        vector = chosen(store, engine.info.id, trait.id, parameters.version)
        making.prepare(store, parts_folder)
        parts = parts_of(parts_folder, engine, trait, parameters)
        progress = Estimate(measuring.stages(trait, engine.info), task.report)
        work = Work(progress, parts, task.check, max_running)
        measured = measuring.measure(engine, trait, vector, judge_for(engine), seed=parameters.seed, work=work)
        task.check()
        return Done({"vector": making.save(store, measured)}, parts.discard)

    return Kind(MEASURING, MeasuringParameters, run)

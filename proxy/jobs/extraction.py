"""The kind of job that makes a persona vector."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.jobs.estimate import Estimate
from proxy.jobs.kinds import Done, Kind, Task
from proxy.protocol.jobs import Questions, Rollouts, Seed
from proxy.steering import making
from proxy.steering.judge import judge_for
from proxy.steering.making import ExtractionOptions, parts_of
from proxy.steering.traits import Trait
from proxy.steering.work import Work
from vector_store import VectorStore

EXTRACTION = "extraction"


class ExtractionParameters(msgspec.Struct, frozen=True):
    """See ExtractionOptions. `trait` is a trait's id."""

    trait: str
    rollouts: Rollouts = ExtractionOptions.rollouts
    questions: Questions = ExtractionOptions.questions
    seed: Seed = ExtractionOptions.seed


def extraction(
    traits: Callable[[], Mapping[str, Trait]], store: VectorStore, parts_folder: Path, max_running: int
) -> Kind:
    """The kind. It gives the engine `max_running` answers at once, so that chats find places beside them."""

    def run(engine: Engine, parameters: ExtractionParameters, task: Task) -> Done:
        trait = traits().get(parameters.trait)
        if trait is None:
            raise SetupError(f"There is no trait {parameters.trait!r} any more.")
        options = ExtractionOptions(parameters.rollouts, parameters.questions, parameters.seed)
        making.prepare(store, parts_folder)
        parts = parts_of(parts_folder, engine, trait, options)
        progress = Estimate(making.stages(trait, engine.info.n_layers, options), task.report)
        work = Work(progress, parts, task.check, max_running)
        vector = making.make_vector(engine, trait, judge_for(engine), options, work)
        task.check()
        return Done({"vector": making.save(store, vector)}, parts.discard)

    return Kind(EXTRACTION, ExtractionParameters, run)

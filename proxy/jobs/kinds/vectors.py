"""What kinds of job that make a persona vector have in common: parts that are kept until the vector is saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.judges import Judges
from proxy.steering import making
from proxy.steering.judge import JudgeKind, default_kind, name_of
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import PersonaVector, VectorStore


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Of a job that makes a vector. `trait` is a trait's id, `judge` a judge's name, None for the usual one."""

    trait: str
    judge: str | None = None

    @property
    def work(self) -> object:
        """All that the parts depend on besides judge, model and trait as they are now; msgspec encodes it."""
        return self


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Surroundings:
    """What vectors are made with: the traits as they are now, the judges, where vectors are saved and finished parts
    kept, and how many answers the engine is given at once, so that chats find places beside them."""

    traits: Callable[[], Mapping[str, Trait]]
    judges: Judges
    store: VectorStore
    parts_folder: Path
    max_running: int


def vector_kind(
    name: str,
    parameters: type[P],
    stages: Callable[[Trait, ModelInfo, JudgeKind, P], Mapping[str, float]],
    make: Callable[[Engine, Trait, JudgeKind, P, Work], PersonaVector],
    around: Surroundings,
    settled: Callable[[Engine, Trait, P], P] = lambda engine, trait, asked: asked,
) -> Kind:
    """The kind whose jobs save what `make` makes, which reports `stages`. `settled` decides what the parameters leave
    open, so that parts are of what was decided."""

    def run(engine: Engine, asked: P, task: Task) -> Done:
        trait = around.traits().get(asked.trait)
        if trait is None:
            raise SetupError(f"There is no trait {asked.trait!r} any more.")
        making.prepare(around.store, around.parts_folder)
        asked = settled(engine, trait, asked)
        with around.judges.opened(asked.judge, engine, task.check) as named:
            kind = default_kind(engine.info, trait) if named is None else named
            parts = making.parts_of(around.parts_folder, engine, trait, (asked.work, name_of(kind)))
            work = task.work(parts, stages(trait, engine.info, kind, asked), around.max_running)
            vector = make(engine, trait, kind, asked, work)
        task.check()
        id_ = making.save(around.store, vector)
        standing = around.store.standing(id_)
        return Done({"vector": id_, "in_use": standing.in_use, "note": standing.note}, parts.discard)

    return Kind(name, parameters, run)

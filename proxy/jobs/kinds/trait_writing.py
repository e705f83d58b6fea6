"""The kind of job in which a model writes a trait."""

from pathlib import Path

from proxy.engines.base import Engine
from proxy.errors import TraitConflict
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.steering.traits import writing as trait_writing
from proxy.steering.traits.files import TraitFolder
from proxy.steering.traits.parts import Brief

TRAIT_WRITING = "trait"


def trait_writing_kind(folder: TraitFolder, parts_folder: Path, max_running: int) -> Kind:
    """The kind of job that has a model write a trait. Its traits go into `folder`; finished parts are kept below
    `parts_folder`, and the engine is given `max_running` answers at once."""

    def run(engine: Engine, asked: Brief, task: Task) -> Done:
        parts = trait_writing.parts_of(parts_folder, engine, asked)
        work = task.work(parts, trait_writing.stages(asked), max_running)
        if not parts.begun:
            folder.check_new(asked.id, asked.positive, asked.negative)
        trait = trait_writing.write_trait(engine, asked, work)
        task.check()
        try:
            folder.add(trait)
        except TraitConflict:
            # A job that was cut off between this and its end is run again, and finds its own trait.
            if folder.traits.current.get(trait.id) != trait:
                raise
        return Done({"trait": trait.id}, parts.discard)

    return Kind(TRAIT_WRITING, Brief, run)

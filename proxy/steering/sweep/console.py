"""What `persona-proxy sweep` does: vectors of several traits, swept, saved, and told about as they are.

Writes to a text stream only; knows nothing of the command line.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.steering.judge import JudgeKind, default_kind, name_of
from proxy.steering.making import parts_of, prepare, save
from proxy.steering.report import ProgressBar
from proxy.steering.sweep.options import SweepOptions
from proxy.steering.sweep.run import parts_key, sweep
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import PersonaVector, VectorStore


def run_sweeps(
    engine: Engine,
    traits: Sequence[Trait],
    store: VectorStore,
    options: SweepOptions,
    console: TextIO,
    show: Callable[[PersonaVector], None],
    *,
    judge: JudgeKind | None = None,
    parts_folder: Path,
    fresh: bool = False,
) -> None:
    """Sweep the vector in use of each trait, save it as a new version, and `show` that. Blocks for minutes per trait.
    Without `judge` it is the usual one.

    What an earlier run did not finish is gone on with, unless `fresh`, from the parts below `parts_folder`. A trait
    that fails does not keep the others from being swept: SetupError at the end says which failed and why.
    """
    prepare(store, parts_folder)
    failures: list[str] = []
    for number, trait in enumerate(traits):
        try:
            vector = in_use(store, engine, trait)
            kind = default_kind(engine.info, trait) if judge is None else judge
            parts = parts_of(parts_folder, engine, trait, (parts_key(vector.id, options), name_of(kind)))
            if fresh:
                parts.discard()
            elif parts.begun:
                _say(f"{trait.id}: going on where an earlier run was broken off (--fresh starts over)", console)
            with ProgressBar(console) as progress:
                swept = sweep(engine, trait, vector, kind, options, Work(progress, parts))
            swept = dataclasses.replace(swept, id=save(store, swept))
        except SetupError as error:
            failures.append(error.message)
            continue
        except KeyboardInterrupt:
            rest = " ".join(f"--trait {left.id}" for left in traits[number:])
            _say(f"{trait.id}: broken off; the same command with {rest} goes on from here", console)
            raise
        parts.discard()
        show(swept)
        _say(store.standing(swept.id).note, console)
    if failures:
        raise SetupError("; ".join(failures))


def in_use(store: VectorStore, engine: Engine, trait: Trait) -> PersonaVector:
    """The vector of this trait that these weights are steered by. SetupError where there is none."""
    vector = store.in_use(engine.info.id, trait.id, engine.info.fingerprint)
    if vector is None:
        raise SetupError(
            f"{engine.info.id} has no vector for {trait.id}: persona-proxy extract --model {engine.info.id} "
            f"--trait {trait.id}"
        )
    return vector


def _say(line: str, console: TextIO) -> None:
    print(line, file=console, flush=True)

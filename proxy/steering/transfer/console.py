"""What `persona-proxy transfer fit` and `apply` do: maps and vectors, made, kept, and told about in plain lines.

Writes to a text stream only; knows nothing of the command line.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from proxy.engines.base import Engine
from proxy.steering import judge as judging
from proxy.steering.judge import JudgeKind, default_kind, name_of
from proxy.steering.making import parts_of, prepare, save
from proxy.steering.report import ProgressBar
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.apply import apply, check
from proxy.steering.transfer.arms import native_vector
from proxy.steering.transfer.files import TransferInfo, find
from proxy.steering.transfer.fit import Corpus, fit, fit_parts
from proxy.steering.work import Work
from vector_store import SIDES, SPANS, PersonaVector, VectorStore


def run_fit(
    source: Engine,
    target: Engine,
    corpus: Corpus,
    traits: Mapping[str, Trait],
    folder: Path,
    console: TextIO,
    *,
    parts_folder: Path,
    target_blocks: Sequence[int] | None = None,
) -> TransferInfo:
    """Fit a transfer and keep it below `folder`. Blocks for minutes. What an earlier run did not finish is gone on
    with."""
    parts = fit_parts(parts_folder, source.info, target.info, corpus, target_blocks)
    if parts.begun:
        print("going on where an earlier run was broken off", file=console, flush=True)
    with ProgressBar(console) as progress:
        info = fit(source, target, corpus, traits, folder, Work(progress, parts), target_blocks)
    parts.discard()
    return info


def run_apply(
    engine: Engine,
    source_id: str,
    traits: Sequence[Trait],
    store: VectorStore,
    folder: Path,
    console: TextIO,
    *,
    judge: JudgeKind | None,
    parts_folder: Path,
    transfer_id: str | None = None,
    seed: int = 0,
) -> list[PersonaVector]:
    """Carry the vector in use that `source_id` has of each trait to the engine's model, measure where and how strongly
    it steers, and save it. Blocks for minutes per trait. All that can be known to be wrong is found out first."""
    prepare(store, parts_folder)
    transfer = find(folder, source_id, engine.info, transfer_id)
    vectors = [native_vector(store, source_id, transfer.source.fingerprint, trait) for trait in traits]
    for trait, vector in zip(traits, vectors, strict=True):
        check(engine.info, trait, vector, transfer)
    made = []
    for trait, vector in zip(traits, vectors, strict=True):
        kind = default_kind(engine.info, trait) if judge is None else judge
        parts = parts_of(parts_folder, engine, trait, (transfer.id, vector.id, seed, name_of(kind)))
        with ProgressBar(console) as progress:
            work = Work(progress, parts)
            judged = judging.prepare(kind, engine, trait, seed=seed, work=work)
            moved = apply(engine, trait, vector, transfer, folder, judged, seed=seed, work=work)
        made.append(dataclasses.replace(moved, id=save(store, moved)))
        parts.discard()
        note = f"  {store.standing(made[-1].id).note}"
        print(*applied_lines(made[-1]), note, sep="\n", file=console, flush=True)
    return made


def fitted_lines(info: TransferInfo) -> Iterator[str]:
    """What was fitted, and how well."""
    yield f"{info.source.id} to {info.target.id}: {info.id}"
    yield f"  fitted on {info.n_documents} documents ({info.text}); R2 on documents held out, beside shuffled pairs"
    for span in SPANS:
        for map_ in info.maps:
            if map_.span == span:
                others = ", ".join(f"{kind} {r2:.3f}" for kind, r2 in map_.r2_by_kind.items())
                yield (
                    f"  {span:11} block {map_.source_block} to {map_.target_block}: {map_.r2:.3f} (shuffled "
                    f"{map_.r2_shuffled:.3f}) by {map_.method.words}, of {others}; {map_.n_pairs} pairs"
                )
        if span not in info.screened:
            yield f"  {span}: too few pairs for a map"


def applied_lines(vector: PersonaVector) -> Iterator[str]:
    """What became of a vector."""
    source = vector.transfer.source_model if vector.transfer else "another model"
    yield f"{vector.positive} / {vector.negative} in {vector.model_id}, from {source}: saved as {vector.id}"
    for side in SIDES:
        choice = vector.poles[side]
        score = "" if choice.score is None else f", score {choice.score:.2f}"
        yield (
            f"  {vector.pole(side)}: block {choice.block}, added at {choice.positions}, relative dose "
            f"{choice.relative_dose:.2f} at coefficient 1{score}"
        )

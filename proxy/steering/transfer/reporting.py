"""What `persona-proxy transfer evaluate` does: measures, in parts that outlive the process, and writes it down.

A folder of reports has a file of figures for each pair of models, and one page made of them all. Knows nothing of the
command line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import msgspec

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.steering.judge import JudgeKind, name_of
from proxy.steering.making import parts_of
from proxy.steering.report import ProgressBar
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.arms import EvaluationOptions, poles_of
from proxy.steering.transfer.evaluate import evaluate, parts_key
from proxy.steering.transfer.figures import Evaluation
from proxy.steering.transfer.files import TransferInfo
from proxy.steering.transfer.page import page
from proxy.steering.work import Work
from vector_store import VectorStore
from vector_store.store import slug

PAGE, FIGURES = "TRANSFER.md", "transfers"


def run_evaluation(
    engine: Engine,
    traits: Mapping[str, Trait],
    store: VectorStore,
    transfer: TransferInfo,
    folder: Path,
    options: EvaluationOptions,
    console: TextIO,
    *,
    judge: JudgeKind | None = None,
    parts_folder: Path,
    fresh: bool = False,
) -> Evaluation:
    """Evaluate `transfer`, one of those in `folder`, by the traits' vectors in `store`. Blocks for minutes. Without
    `judge` each trait has its usual one. What an earlier run did not finish is gone on with, unless `fresh`.
    SetupError, before any work is done, for a vector or a map that is missing."""
    poles = poles_of(engine.info, traits, store, transfer, folder)
    ids = [vector.id for pole in poles for vector in (pole.source, pole.native)]
    key = parts_key(transfer, options, ids), None if judge is None else name_of(judge)
    parts = parts_of(parts_folder, engine, list(traits.values()), key)
    if fresh:
        parts.discard()
    elif parts.begun:
        _say("going on where an earlier run was broken off (--fresh starts over)", console)
    try:
        with ProgressBar(console) as progress:
            found = evaluate(engine, traits, poles, transfer, judge, options, Work(progress, parts))
    except KeyboardInterrupt:
        _say("broken off; the same command goes on from here", console)
        raise
    parts.discard()
    return found


def prepare(folder: Path) -> None:
    """Find out before the long part whether a report can be written. SetupError."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{folder}: no report can be written there: {error.strerror}") from error


def write(folder: Path, found: Evaluation) -> Path:
    """Write down the figures, and the page of all that are in the folder, which is returned. SetupError."""
    name = f"{slug(found.source)}-to-{slug(found.target)}.json"
    try:
        (folder / FIGURES / name).write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        (folder / PAGE).write_text(page(read(folder)), "utf-8")
    except OSError as error:
        raise SetupError(f"{folder}: the report can't be written: {error.strerror}") from error
    return folder / PAGE


def read(folder: Path) -> list[Evaluation]:
    """All evaluations written down in a folder, by name. SetupError for a file that is damaged."""
    found = []
    for path in sorted((folder / FIGURES).glob("*-to-*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Evaluation))
        except msgspec.DecodeError as error:
            raise SetupError(f"{path}: is no evaluation of this version: {error}; delete it") from error
    return found


def _say(line: str, console: TextIO) -> None:
    print(line, file=console, flush=True)

"""A persona vector from beginning to end: extracted, placed and saved, in parts that outlive the process.

The command line and the server's jobs make vectors by this one function. What was cut off, by whatever, goes on where
it was, and comes to the same vector: every answer has a seed of its own, whoever makes it and when.
"""

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.steering import extract, judge, limited, placement
from proxy.steering.budget import BUDGETS, THOROUGH, Budget, BudgetName, first_try
from proxy.steering.judge import JudgeKind, Validated
from proxy.steering.traits.trait import N_QUESTIONS, Trait
from proxy.steering.work import FolderParts, Work, folder_parts
from vector_store import PersonaVector, VectorStore

KEPT_S = 7 * 24 * 3600  # unfinished work nobody has gone on with for so long is thrown away


@dataclass(frozen=True)
class ExtractionOptions:
    """How a vector is made. `rollouts`: answers to each question under each instruction. `questions`: how many of the
    20 extract questions are asked. The same `seed` makes the same vector, on the same machine. A limited `budget` says
    itself how much is asked."""

    rollouts: int = 10
    questions: int = N_QUESTIONS
    seed: int = 0
    budget: BudgetName = THOROUGH

    def __post_init__(self) -> None:
        """SetupError where a number is out of range."""
        if self.rollouts < 1:
            raise SetupError(f"rollouts must be at least 1, not {self.rollouts}")
        if not 2 <= self.questions <= N_QUESTIONS:
            raise SetupError(f"questions must be from 2 to {N_QUESTIONS}, not {self.questions}")
        if self.seed < 0:
            raise SetupError(f"the seed must not be negative, as {self.seed} is")

    @property
    def limited(self) -> Budget | None:
        """The numbers of a limited budget; None where it is thorough."""
        return BUDGETS.get(self.budget)


def check_numbers(budget: str | None, rollouts: int | None, questions: int | None) -> None:
    """SetupError where a limited budget stands beside numbers that it would not heed."""
    for name, value in (("rollouts", rollouts), ("questions", questions)):
        if budget in BUDGETS and value is not None:
            raise SetupError(f"{name}: the budget {budget!r} says how many; possible: leave it out, or thorough")


def prepare(store: VectorStore, parts_folder: Path) -> None:
    """Find out before the long part whether its vector can be saved, and make room. SetupError."""
    try:
        store.prepare()
    except OSError as error:
        raise SetupError(f"the vectors can't be saved: {error}") from error
    _discard_old(parts_folder)


def save(store: VectorStore, vector: PersonaVector) -> str:
    """Save a vector that is made, and return its id; the same one again is harmless. SetupError where it can't be."""
    try:
        return store.save(vector)
    except OSError as error:
        raise SetupError(f"the vector can't be saved: {error}") from error


def in_use(store: VectorStore, engine: Engine, trait: Trait) -> PersonaVector:
    """The vector of this trait that these weights are steered by. SetupError where there is none."""
    vector = store.in_use(engine.info.id, trait.id, engine.info.fingerprint)
    if vector is None:
        raise SetupError(no_vector(engine.info.id, trait.id, toy=engine.info.world is not None))
    return vector


def no_vector(model_id: str, trait_id: str | None = None, *, toy: bool) -> str:
    """That a model has no vector for a trait, or none at all, and what makes one: within a budget, but for a toy."""
    lacking = "no vectors" if trait_id is None else f"no vector for {trait_id}"
    command = f"persona-proxy extract --model {model_id} --trait {trait_id or 'all'}{first_try(toy=toy)}"
    return f"{model_id} has {lacking}: {command}"


def make_by_kind(
    engine: Engine, trait: Trait, kind: JudgeKind, options: ExtractionOptions, work: Work
) -> PersonaVector:
    """The trait's vector, still to be saved, with the judge prepared first; within a limited budget with its curve.
    Blocks for minutes. SetupError where the model or the judge can't be used."""
    if options.limited is not None:
        return limited.make_vector(engine, trait, kind, options.limited, options.seed, work)
    return make_vector(engine, trait, judge.prepare(kind, engine, trait, seed=options.seed, work=work), options, work)


def stages_by_kind(trait: Trait, info: ModelInfo, kind: JudgeKind, options: ExtractionOptions) -> dict[str, float]:
    """What `make_by_kind` reports, in order, and about how much each is, in answers to be made."""
    if options.limited is not None:
        return limited.stages(trait, info, kind, options.limited)
    return judge.stages(kind, trait) | stages(trait, info.n_layers, options)


def make_vector(
    engine: Engine, trait: Trait, judged: Validated, options: ExtractionOptions, work: Work
) -> PersonaVector:
    """The trait's vector with both poles placed, still to be saved. Blocks for minutes. SetupError where the model
    can't be used: it does not follow the instructions, or the judge can't judge."""
    vector = extract.extract(
        engine,
        trait,
        judged.judge,
        rollouts=options.rollouts,
        questions=options.questions,
        seed=options.seed,
        work=work,
    )
    placed = placement.choose(engine, trait, vector, judged.judge, seed=options.seed, work=work)
    return dataclasses.replace(placed, judge=judged.record)


def stages(trait: Trait, n_layers: int, options: ExtractionOptions) -> dict[str, float]:
    """What `make_vector` reports, in order, and about how much each is, in answers to be made."""
    return extract.stages(trait, options.rollouts, options.questions) | placement.stages(trait, n_layers)


def parts_of(folder: Path, engine: Engine, trait: Trait | Sequence[Trait], options: object) -> FolderParts:
    """Where below `folder` the finished parts of this work are kept: of this model and trait(s) as they are now, of
    `options`, which say all else (msgspec encodes them), and of this version, so that no part of anything else is ever
    taken for one of its own."""
    return folder_parts(folder, extract.METHOD, engine.info, trait, options)


def _discard_old(parts_folder: Path) -> None:
    oldest = time.time() - KEPT_S
    for folder in parts_folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process may have been first
            if folder.stat().st_mtime < oldest:
                FolderParts(folder).discard()

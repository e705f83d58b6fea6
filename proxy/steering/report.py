"""What `persona-proxy extract` does: vectors of several traits, made, placed, saved, and told about in plain lines.

Writes to a text stream only; knows nothing of the command line, and nothing of how a vector is made or placed.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.steering.extract import extract
from proxy.steering.judge import Answer, Judge, judge_for
from proxy.steering.layers import choose
from proxy.steering.traits import N_QUESTIONS, Trait
from vector_store import SIDES, CurvePoint, PersonaVector, PoleChoice, Side, VectorStore

WHERE = {"last_prompt": "the last prompt token", "response": "the response", "all": "every token"}


@dataclass(frozen=True)
class ExtractionOptions:
    """`rollouts`: answers to each question under each instruction. `questions`: how many of the 20 extract questions.
    The same `seed` makes the same vector, on the same machine."""

    rollouts: int = 10
    questions: int = N_QUESTIONS
    seed: int = 0

    def __post_init__(self) -> None:
        """SetupError where a number is out of range."""
        if self.rollouts < 1:
            raise SetupError(f"rollouts must be at least 1, not {self.rollouts}")
        if not 2 <= self.questions <= N_QUESTIONS:
            raise SetupError(f"questions must be from 2 to {N_QUESTIONS}, not {self.questions}")
        if self.seed < 0:
            raise SetupError(f"the seed must not be negative, as {self.seed} is")


def run_extraction(
    engine: Engine, traits: Sequence[Trait], store: VectorStore, options: ExtractionOptions, console: TextIO
) -> list[str]:
    """Make, place and save a vector of each trait; the ids of those saved. Blocks for minutes per trait.

    A trait that fails does not keep the others from being made: SetupError at the end says which failed and why.
    """
    try:
        store.prepare()
    except OSError as error:
        raise SetupError(f"the vectors can't be saved: {error}") from error
    judge = judge_for(engine)
    ids: list[str] = []
    failures: list[str] = []
    for trait in traits:
        try:
            vector = _make(engine, trait, judge, options, console)
        except SetupError as error:
            failures.append(error.message)
            continue
        ids.append(store.save(vector))
        for line in summary(dataclasses.replace(vector, id=ids[-1])):
            print(line, file=console, flush=True)
    if failures:
        raise SetupError("; ".join(failures))
    return ids


def summary(vector: PersonaVector) -> Iterator[str]:
    """What was kept, how well every block separates the poles, and what was chosen, beside its controls."""
    yield f"{vector.positive} / {vector.negative} in {vector.model_id}"
    kept = (f"{count.kept} of {count.made} {condition}" for condition, count in vector.counts.items())
    yield f"  answers kept: {', '.join(kept)}"
    yield "  separation of the poles by block (AUROC on the other half of the questions; 0.5 is chance):"
    yield "    block" + "".join(f"{span:>14}" for span in vector.separation)
    for block in range(vector.n_layers):
        yield f"    {block:5}" + "".join(f"{values[block]:14.2f}" for values in vector.separation.values())
    for side in SIDES:
        yield from _pole_summary(vector, side, vector.poles[side])
    yield f"  saved as {vector.id}"


def _make(engine: Engine, trait: Trait, judge: Judge, options: ExtractionOptions, console: TextIO) -> PersonaVector:
    # A judge that can't do its work is found out before the long part, not after it.
    judge.score([Answer(trait.questions.extract[0], trait.description, trait, side) for side in SIDES])
    with ProgressBar(console) as progress:
        vector = extract(
            engine,
            trait,
            judge,
            rollouts=options.rollouts,
            questions=options.questions,
            seed=options.seed,
            progress=progress,
        )
        return choose(engine, trait, vector, judge, seed=options.seed, progress=progress)


def _pole_summary(vector: PersonaVector, side: Side, choice: PoleChoice) -> Iterator[str]:
    pole = vector.positive if side == "positive" else vector.negative
    yield (
        f"  {pole}: taken from {WHERE[choice.span]} at block {choice.block}, added to "
        f"{WHERE[choice.positions]}, relative dose {choice.relative_dose:.2f} at coefficient 1"
    )
    points = {point.kind: point for point in vector.curve if point.side == side and _is_shown(point, choice)}
    for kind, name in (("steered", "steered"), ("unsteered", "not steered"), ("random", "random vector")):
        if kind in points:
            yield (
                f"    {name:14} trait {points[kind].trait:5.1f}  coherence {points[kind].coherence:5.1f}"
                f"  (of 100; {points[kind].n} answers)"
            )
    if choice.measured_range is not None:
        yield f"    coherent up to coefficient {choice.measured_range[1]:g}"
    if "steered" in points and "unsteered" in points and points["steered"].score <= points["unsteered"].score:
        yield f"    steering shows no more of {pole!r} than no steering does"


def _is_shown(point: CurvePoint, choice: PoleChoice) -> bool:
    return point.kind != "steered" or (
        (point.block, point.span, point.positions) == (choice.block, choice.span, choice.positions)
        and point.relative_dose == choice.relative_dose
        and point.score == choice.score
    )


class ProgressBar:
    """One line that says what is being done and how far it is; called with a label, how many are done, of how many."""

    def __init__(self, console: TextIO) -> None:
        self._console = console
        self._bar: tqdm | None = None
        self._label = ""

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._bar is None or label != self._label:
            self.close()
            self._label = label
            self._bar = tqdm(total=total, desc=label, file=self._console, leave=False, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

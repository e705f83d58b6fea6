"""What `persona-proxy extract` does: vectors of several traits, made, placed, saved, and told about in plain lines.

Writes to a text stream only; knows nothing of the command line, and nothing of how a vector is made or placed.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.steering.judge import JudgeKind, default_kind, name_of
from proxy.steering.judge import prepare as prepare_judge
from proxy.steering.making import ExtractionOptions, make_vector, parts_of, prepare, save
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import SIDES, CurvePoint, PersonaVector, PoleChoice, Side, VectorStore

WHERE = {"last_prompt": "the last prompt token", "response": "the response", "all": "every token"}


def run_extraction(
    engine: Engine,
    traits: Sequence[Trait],
    store: VectorStore,
    options: ExtractionOptions,
    console: TextIO,
    *,
    judge: JudgeKind | None = None,
    parts_folder: Path,
    fresh: bool = False,
) -> list[str]:
    """Make, place and save a vector of each trait; the ids of those saved. Blocks for minutes per trait. Without
    `judge` it is the usual one.

    What an earlier run did not finish is gone on with, unless `fresh`, from the parts below `parts_folder`. A trait
    that fails does not keep the others from being made: SetupError at the end says which failed and why.
    """
    prepare(store, parts_folder)
    ids: list[str] = []
    failures: list[str] = []
    for trait in traits:
        kind = default_kind(engine.info, trait) if judge is None else judge
        parts = parts_of(parts_folder, engine, trait, (options, name_of(kind)))
        if fresh:
            parts.discard()
        elif parts.begun:
            _say(f"{trait.id}: going on where an earlier run was broken off (--fresh starts over)", console)
        try:
            with ProgressBar(console) as progress:
                work = Work(progress, parts)
                judged = prepare_judge(kind, engine, trait, seed=options.seed, work=work)
                vector = make_vector(engine, trait, judged, options, work)
            ids.append(save(store, vector))
        except SetupError as error:
            failures.append(error.message)
            continue
        except KeyboardInterrupt:
            _say(f"{trait.id}: broken off; the same command goes on from here", console)
            raise
        parts.discard()
        for line in summary(dataclasses.replace(vector, id=ids[-1])):
            _say(line, console)
        _say(f"  {store.standing(ids[-1]).note}", console)
    if failures:
        raise SetupError("; ".join(failures))
    return ids


def summary(vector: PersonaVector) -> Iterator[str]:
    """What was kept, how well every block separates the poles, and what was chosen, beside its controls."""
    yield f"{vector.positive} / {vector.negative} in {vector.model_id}"
    kept = (f"{count.kept} of {count.made} {condition}" for condition, count in vector.counts.items())
    yield f"  answers kept: {', '.join(kept)}"
    if vector.judge is not None:
        yield f"  judged by: {vector.judge}"
    yield "  separation of the poles by block (AUROC on the other half of the questions; 0.5 is chance):"
    yield "    block" + "".join(f"{span:>14}" for span in vector.separation)
    for block in range(vector.n_layers):
        yield f"    {block:5}" + "".join(f"{values[block]:14.2f}" for values in vector.separation.values())
    for side in SIDES:
        yield from _pole_summary(vector, side, vector.poles[side])
    yield f"  saved as {vector.id}"


def _say(line: str, console: TextIO) -> None:
    print(line, file=console, flush=True)


def _pole_summary(vector: PersonaVector, side: Side, choice: PoleChoice) -> Iterator[str]:
    pole = vector.positive if side == "positive" else vector.negative
    yield (
        f"  {pole}: taken from {WHERE[choice.span]} at block {choice.block}, added to "
        f"{WHERE[choice.positions]}, relative dose {choice.relative_dose:.2f} at coefficient 1"
    )
    points = {point.kind: point for point in vector.curve if point.side == side and _is_shown(point, choice)}
    for kind, name in (("steered", "steered"), ("unsteered", "not steered"), ("random", "random vector")):
        if kind in points:
            trait = f"trait {points[kind].trait:5.1f}" if vector.scored else "trait unscored"
            yield (
                f"    {name:14} {trait}  coherence {points[kind].coherence:5.1f}  (of 100; {points[kind].n} answers)"
            )
    if choice.measured_range is not None:
        yield f"    coherent up to coefficient {choice.measured_range[1]:g}"
    both = vector.scored and "steered" in points and "unsteered" in points
    if both and points["steered"].score <= points["unsteered"].score:
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

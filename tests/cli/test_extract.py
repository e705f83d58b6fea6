"""Extraction on a console: vectors are saved as they are made, and what is printed is what was measured."""

import dataclasses
import io
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

import pytest

from proxy.cli.console import Console, ProgressBar
from proxy.cli.results import extracted_lines
from proxy.engines.base import Engine, Event, Generation, Run, Span, SpanStats
from proxy.engines.blocking import MAX_RUNNING
from proxy.errors import SetupError
from proxy.jobs.kinds import vectors
from proxy.jobs.kinds.extraction import ExtractionParameters, extraction
from proxy.jobs.kinds.vectors import Surroundings
from proxy.judges import Check, Judges
from proxy.steering.judge import Answer, NamedJudge, Score
from proxy.steering.making import ExtractionOptions
from proxy.steering.seeds import Purpose
from proxy.steering.traits.trait import Trait
from proxy.steering.work import FolderParts
from tests.steering.pretend import PretendEngine, PretendJudge, made_for, make_trait
from vector_store import VectorStore, opposite

pytestmark = pytest.mark.usefixtures("fewer_trials")


def no_model(model_id: str, check: Check) -> AbstractContextManager[Engine]:
    raise AssertionError("no other model is needed")


def run(
    folder: Path,
    engine: PretendEngine,
    traits: Sequence[Trait],
    store: VectorStore,
    out: TextIO,
    judge: NamedJudge | None = None,
    fresh: bool = False,
) -> list[str]:
    """The ids of the vectors that were made."""
    judges = Judges([], [], no_model)
    around = Surroundings(lambda: {trait.id: trait for trait in traits}, judges, store, folder / "parts", MAX_RUNNING)
    ids: list[str] = []

    def asked(trait: Trait) -> ExtractionParameters:
        return ExtractionParameters(trait=trait.id, rollouts=2, questions=4, seed=3)

    def show(result: dict[str, str]) -> None:
        ids.append(result["vector"])
        print(*extracted_lines(store.get(ids[-1])), sep="\n", file=out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "default_kind", lambda info, trait: judge or PretendJudge())
        Console(out, fresh).each(extraction(around), engine, traits, asked, show)
    return ids


def test_each_trait_is_saved_and_told_about(tmp_path: Path) -> None:
    store, console = VectorStore([tmp_path]), io.StringIO()
    traits = [make_trait(), make_trait("merry", "merry", "glum")]
    ids = run(tmp_path, PretendEngine(), traits, store, console)

    assert sorted(header.id for header in store.list("org/pretend")) == sorted(ids)
    vector = store.in_use("org/pretend", "silly")
    assert vector is not None and set(vector.poles) == {"positive", "negative"} and vector.curve
    printed = console.getvalue()
    for said in (
        "silly / serious in org/pretend",
        "answers kept: 40 of 40 positive, 40 of 40 negative, 40 of 40 neutral",
        "separation of the poles by block",
        f"    {1:5}{vector.separation['last_prompt'][1]:14.2f}{vector.separation['response'][1]:14.2f}",
        "serious: taken from the last prompt token at block 1, added to the last prompt token",
        f"relative dose {vector.poles['positive'].relative_dose:.2f} at coefficient 1",
        "judged by: counting, AUROC 1.00 on 80 held-out answers",
        "not steered",
        "random vector",
        f"saved as {ids[1]}",
    ):
        assert said in printed
    assert "shows no more of" not in printed


def test_what_a_judge_says_that_tells_nothing_apart_is_not_shown(tmp_path: Path) -> None:
    class OneEyed(PretendJudge):
        """Takes answers that are to be serious for silly ones, in the questions it is validated on."""

        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            swapped = [
                dataclasses.replace(a, side=opposite(a.side)) if "evaluate 1" in a.question else a for a in answers
            ]
            return super().score(swapped)

    console = io.StringIO()
    run(tmp_path, PretendEngine(), [make_trait()], VectorStore([tmp_path]), console, OneEyed())
    assert (
        "judged by: counting, AUROC 0.45 on 80 held-out answers, which is too little to score by" in console.getvalue()
    )
    assert "trait unscored  coherence" in console.getvalue() and "shows no more of" not in console.getvalue()


def test_a_trait_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    class Selective(PretendEngine):
        def _asked(self, prompt: Sequence[int]) -> float:
            return 0.0 if "serenade" in "".join(map(chr, prompt)) else super()._asked(prompt)

    bad = make_trait("lyrical", "lyrical", "prosaic")
    bad.questions.extract[:] = [f"serenade {i}?" for i in range(20)]
    store = VectorStore([tmp_path])
    with pytest.raises(SetupError, match="a vector of 'lyrical' for org/pretend"):
        run(tmp_path, Selective(), [bad, make_trait()], store, io.StringIO())
    assert [header.trait for header in store.list()] == ["silly"]


def test_what_can_not_work_is_said_before_anything_is_generated(tmp_path: Path) -> None:
    class Mute(PretendJudge):
        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            raise SetupError("this model can't judge")

    engine = PretendEngine()
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="can't be saved.*file"):
        run(tmp_path, engine, [make_trait()], VectorStore([tmp_path / "file" / "x"]), io.StringIO())
    with pytest.raises(SetupError, match="this model can't judge"):
        run(tmp_path, engine, [make_trait()], VectorStore([tmp_path]), io.StringIO(), Mute())
    assert engine.started == []


class Breaking(PretendEngine):
    """Breaks off, as Ctrl-C does, when it is to read residuals."""

    def capture(self, *args: object) -> dict[Span, SpanStats]:
        raise KeyboardInterrupt


def test_what_was_broken_off_at_a_later_trait_is_gone_on_with_without_the_earlier_ones(tmp_path: Path) -> None:
    class Later(PretendEngine):
        def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
            if "merry" in "".join(map(chr, generation.prompt)):
                raise KeyboardInterrupt
            return super().start(generation, on_event)

    traits, console = [make_trait(), make_trait("merry", "merry", "glum")], io.StringIO()
    traits[1].questions.extract[:] = [f"merry {i}?" for i in range(20)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Later(), traits, VectorStore([tmp_path / "vectors"]), console)
    assert "merry: broken off; the same command with --trait merry goes on from here" in console.getvalue()


def test_what_was_broken_off_is_gone_on_with_and_said_so(tmp_path: Path) -> None:
    store, broken, console = VectorStore([tmp_path / "vectors"]), io.StringIO(), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Breaking(), [make_trait()], store, broken)
    assert "silly: broken off; the same command goes on from here" in broken.getvalue()
    engine = PretendEngine()
    run(tmp_path, engine, [make_trait()], store, console)
    assert "silly: going on where an earlier run was broken off (--fresh starts over)" in console.getvalue()
    extracting = [generation for generation in engine.started if made_for(Purpose.EXTRACTING, generation, 3)]
    assert engine.started and not extracting  # the answers were there
    assert list((tmp_path / "parts").iterdir()) == []
    run(tmp_path, PretendEngine(), [make_trait()], store, again := io.StringIO())
    assert "going on" not in again.getvalue()


def test_fresh_starts_over(tmp_path: Path) -> None:
    store, console, engine = VectorStore([tmp_path / "vectors"]), io.StringIO(), PretendEngine()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Breaking(), [make_trait()], store, console)
    run(tmp_path, engine, [make_trait()], store, console, fresh=True)
    assert {generation.sampling.temperature for generation in engine.started} == {0.7, 1.0}
    assert "going on" not in console.getvalue()


def test_unfinished_work_is_thrown_away_after_a_week(tmp_path: Path) -> None:
    old, recent = tmp_path / "parts" / "old", tmp_path / "parts" / "recent"
    for folder, days in ((old, 8), (recent, 6)):
        FolderParts(folder).write("one", b"")
        os.utime(folder, (time.time() - days * 86400,) * 2)
    run(tmp_path, PretendEngine(), [make_trait()], VectorStore([tmp_path / "vectors"]), io.StringIO())
    assert not old.exists() and FolderParts(recent).begun


def test_the_same_seed_saves_the_same_arrays(tmp_path: Path) -> None:
    stores = [VectorStore([tmp_path / name]) for name in ("one", "two")]
    for store in stores:
        run(tmp_path, PretendEngine(0.8), [make_trait()], store, io.StringIO())
    one, two = (store.in_use("org/pretend", "silly") for store in stores)
    assert one is not None and two is not None
    assert one.poles == two.poles and (one.means["response"]["positive"] == two.means["response"]["positive"]).all()


def test_the_progress_line_says_what_is_done_and_how_far() -> None:
    console = io.StringIO()
    with ProgressBar(console) as progress:
        progress("answering", 0, 4)
        progress("answering", 4, 4)
        progress("judging", 0, 2)
    assert "answering" in console.getvalue() and "judging" in console.getvalue()


@pytest.mark.parametrize("bad", [{"rollouts": 0}, {"questions": 1}, {"questions": 21}, {"seed": -1}])
def test_options_out_of_range_are_named(bad: dict[str, int]) -> None:
    with pytest.raises(SetupError, match=next(iter(bad))):
        ExtractionOptions(**bad)  # type: ignore[arg-type]

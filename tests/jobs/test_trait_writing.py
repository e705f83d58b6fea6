"""The job in which a model writes a trait: when names are looked at, and what happens when it is run again."""

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.errors import TraitConflict
from proxy.jobs.kinds.base import Kind, Stopped
from proxy.jobs.kinds.trait_writing import trait_writing_kind
from proxy.jobs.task import JobTask
from proxy.steering.traits.files import TraitFolder
from proxy.steering.traits.parts import Brief, from_templates
from proxy.steering.traits.trait import Traits
from tests.steering.traits.trait_writer import Writer

BRIEF = Brief("mood", "grumpy", "cheerful", "grumpy", "cheerful")


@pytest.fixture
def folder(tmp_path: Path) -> TraitFolder:
    return TraitFolder(Traits(tmp_path / "traits"), tmp_path / "traits", 10)


@pytest.fixture
def kind(folder: TraitFolder, tmp_path: Path) -> Kind:
    return trait_writing_kind(folder, tmp_path / "parts", 4)


@pytest.fixture
def task() -> JobTask:
    return JobTask(threading.Event(), lambda doing, fraction, left_s: None)


def test_run_when_the_name_was_taken_since_it_was_asked_for_then_the_model_writes_nothing(
    folder: TraitFolder, kind: Kind, task: JobTask
) -> None:
    folder.add(from_templates(BRIEF))
    engine = Writer()
    with pytest.raises(TraitConflict):
        kind.run(engine, BRIEF, task)
    assert engine.started == []


def test_run_when_it_was_cut_off_after_its_trait_was_added_then_it_is_done_again_with_what_is_there(
    folder: TraitFolder, kind: Kind, task: JobTask, tmp_path: Path
) -> None:
    kind.run(Writer(), BRIEF, task)
    written, engine = folder.get("mood"), Writer()
    done = kind.run(engine, BRIEF, task)
    assert done.result == {"trait": "mood"} and folder.get("mood") == written and engine.started == []
    done.clean_up()
    assert list((tmp_path / "parts").iterdir()) == []


def test_run_when_somebody_else_took_the_name_meanwhile_then_theirs_stays(
    folder: TraitFolder, kind: Kind, task: JobTask
) -> None:
    kind.run(Writer(), BRIEF, task)
    theirs = msgspec.structs.replace(folder.delete("mood"), rubric="Count the sighs.")
    folder.add(theirs)
    with pytest.raises(TraitConflict):
        kind.run(Writer(), BRIEF, task)
    assert folder.get("mood") == theirs


def test_run_when_it_is_to_stop_then_it_adds_nothing(folder: TraitFolder, kind: Kind) -> None:
    stopped = threading.Event()

    def stop(value: Any, part: Any, number: Any) -> Any:
        stopped.set()
        return value

    engine = Writer(spoil=stop)
    with pytest.raises(Stopped):
        kind.run(engine, BRIEF, JobTask(stopped, lambda doing, fraction, left_s: None))
    assert "mood" not in folder.traits.current and len(engine.started) == 1

"""A vector made in parts: cut off wherever it may be, it goes on and comes to the same."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import proxy
from proxy.steering import extract, gain, placement, work
from proxy.steering.judge.preparing import JUDGING
from proxy.steering.making import ExtractionOptions, make_vector, parts_of, stages
from proxy.steering.traits.trait import Trait
from proxy.steering.work import FolderParts, Work
from tests.steering.pretend import WORK, PretendEngine, PretendJudge, judged_by, make_trait
from vector_store import SPANS, PersonaVector, VectorHeader

pytestmark = pytest.mark.usefixtures("fewer_trials")

STRETCH = 4  # parts of answers that are made together
OPTIONS = ExtractionOptions(rollouts=2, questions=4, seed=3)


class Killed(BaseException):
    """The process is gone."""


class DyingParts(FolderParts):
    """Dies at the `lives`-th part it is to keep: before it is there, or, where `after`, just after."""

    def __init__(self, folder: Path, lives: int, after: bool) -> None:
        super().__init__(folder)
        self.lives, self.after = lives, after

    def write(self, name: str, content: bytes) -> None:
        self.lives -= 1
        if self.lives == 0 and not self.after:
            raise Killed
        super().write(name, content)
        if self.lives == 0:
            raise Killed


class CountingParts(FolderParts):
    """Remembers what was written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written: list[str] = []

    def write(self, name: str, content: bytes) -> None:
        self.written.append(name)
        super().write(name, content)


def make(work: Work, trait: Trait | None = None) -> PersonaVector:
    return make_vector(PretendEngine(0.8), trait or make_trait(), judged_by(PretendJudge()), OPTIONS, work)


def assert_same(one: PersonaVector, other: PersonaVector) -> None:
    """All but the time it was made."""
    for field in dataclasses.fields(VectorHeader):
        if field.name != "created":
            assert getattr(one, field.name) == getattr(other, field.name), field.name
    for span in SPANS:
        for condition, means in one.means[span].items():
            np.testing.assert_array_equal(means, other.means[span][condition])
        np.testing.assert_array_equal(one.residual_norms[span], other.residual_norms[span])


@pytest.fixture(scope="module")
def uninterrupted(fewer_trials: None) -> PersonaVector:
    return make(WORK)


def test_make_vector_when_killed_at_any_part_then_it_goes_on_and_the_vector_is_the_same(
    tmp_path: Path, uninterrupted: PersonaVector
) -> None:
    counting = CountingParts(tmp_path / "all")
    make(Work(WORK.progress, counting))
    n_parts = len(counting.written)
    assert len(set(counting.written)) == n_parts
    assert {name.partition("-")[0] for name in counting.written} >= {"answers", "scores", "residuals", "created"}
    for lives in (*range(1, n_parts, 19), n_parts):
        after = lives % 2 == 0
        folder = tmp_path / str(lives)
        with pytest.raises(Killed):
            make(Work(WORK.progress, DyingParts(folder, lives, after)))
        rest = CountingParts(folder)
        assert_same(make(Work(WORK.progress, rest)), uninterrupted)
        n_missing = n_parts - lives + (not after)
        assert n_missing <= len(rest.written) < n_missing + STRETCH  # one that was begun is made again, whole


def test_make_vector_when_killed_at_every_single_part_then_it_still_ends_in_the_same(
    tmp_path: Path, uninterrupted: PersonaVector
) -> None:
    lives = 0
    while True:
        try:
            # One stretch is kept each time.
            vector = make(Work(WORK.progress, DyingParts(tmp_path, STRETCH + 1, after=False)))
            break
        except Killed:
            lives += 1
    assert lives > len(list(tmp_path.iterdir())) // (STRETCH + 1) > 8
    assert_same(vector, uninterrupted)


def test_make_vector_then_it_is_dated_when_it_is_done_so_that_nothing_saved_meanwhile_counts_as_newer(
    tmp_path: Path,
) -> None:
    counting = CountingParts(tmp_path)
    make(Work(WORK.progress, counting))
    assert counting.written[-1].partition("-")[0] == "created"


def test_make_vector_when_taken_up_after_it_was_done_then_it_is_the_same_to_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = FolderParts(tmp_path)
    first = make(Work(WORK.progress, parts))
    monkeypatch.delattr(placement, "datetime")
    again = make(Work(WORK.progress, parts))
    assert again.created == first.created
    assert_same(again, first)


def test_parts_of_when_anything_differs_then_they_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(engine: PretendEngine, trait: Trait, options: ExtractionOptions) -> Path:
        return parts_of(tmp_path, engine, trait, options)._folder

    usual = folder(PretendEngine(), make_trait(), OPTIONS)
    assert usual == folder(PretendEngine(), make_trait(), OPTIONS) and usual.parent == tmp_path
    others = [
        folder(PretendEngine(world="demo"), make_trait(), OPTIONS),
        folder(PretendEngine(), make_trait("merry"), OPTIONS),
        folder(PretendEngine(), make_trait(), dataclasses.replace(OPTIONS, seed=4)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "SCHEME", 1)
        others.append(folder(PretendEngine(), make_trait(), OPTIONS))
    monkeypatch.setattr(proxy, "__version__", "other")
    others.append(folder(PretendEngine(), make_trait(), OPTIONS))
    assert len({usual, *others}) == 6


def test_stages_then_they_are_what_is_reported_in_its_order_and_size() -> None:
    told: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        told[what] = total

    make(Work(progress))
    expected = stages(make_trait(), PretendEngine().info.n_layers, OPTIONS)
    assert list(told) == list(expected)
    for what, weight in expected.items():
        reading = "reading" in what or "likelihood" in what
        share = JUDGING if "judging" in what else extract.READING if reading else 1
        assert told[what] <= round(weight / share)
    assert told["silly: every place, by likelihood"] <= gain.N_TEXTS * (1 + 2 * (1 + 3 * 2 * 2))
    assert told["silly: answers to compare places by"] == 3 * gain.N_TEXTS

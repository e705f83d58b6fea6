"""Long work in parts: what was finished is not done again, and whoever breaks it off ends it at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.engines.base import Generation, Sampling
from proxy.errors import SetupError
from proxy.steering.work import PART, FolderParts, Work, packed
from tests.steering.pretend import PretendEngine, no_progress
from vector_store import whole

NUMBERS = packed(list[int])


class Told(list[tuple[str, int, int]]):
    """What the work reports."""

    def __call__(self, what: str, done: int, total: int) -> None:
        self.append((what, done, total))


class Killed(Exception):
    """The process is gone."""


def killed_at(count: int) -> Callable[[], None]:
    """A check that raises when it is called for the `count`-th time."""
    calls = iter(range(1, count))

    def check() -> None:
        if next(calls, None) is None:
            raise Killed

    return check


def generations(count: int) -> list[Generation]:
    return [Generation([65 + index % 26], Sampling(5, seed=index)) for index in range(count)]


def doubled(work: Work, count: int = 3 * PART + 5) -> list[int]:
    parts = work.in_parts("doubled", "doubling", range(count), NUMBERS, lambda some: [2 * item for item in some])
    return [item for part in parts for item in part]


def test_in_parts_when_nothing_was_done_then_all_is_and_progress_is_told() -> None:
    told = Told()
    assert doubled(Work(told)) == [2 * item for item in range(3 * PART + 5)]
    assert told == [("doubling", done, 3 * PART + 5) for done in (0, PART, 2 * PART, 3 * PART, 3 * PART + 5)]


def test_in_parts_when_broken_off_then_the_finished_parts_are_not_done_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        doubled(Work(no_progress, FolderParts(tmp_path), killed_at(3)))
    told = Told()
    assert doubled(Work(told, FolderParts(tmp_path))) == [2 * item for item in range(3 * PART + 5)]
    assert told[0] == ("doubling", 2 * PART, 3 * PART + 5) and len(told) == 3


def test_in_parts_when_there_is_nothing_then_nothing() -> None:
    assert doubled(Work(no_progress), 0) == []


def test_answers_when_broken_off_then_only_unfinished_parts_are_asked_for_again(tmp_path: Path) -> None:
    asked = generations(2 * PART + 3)
    expected = Work(no_progress).answers("answers", "answering", PretendEngine(), asked)
    tokens = len(expected[0].token_ids)
    with pytest.raises(Killed):
        check = killed_at(tokens * (PART + 9))
        work = Work(no_progress, FolderParts(tmp_path), check, max_running=4)
        work.answers("answers", "answering", PretendEngine(), asked)
    engine, told = PretendEngine(), Told()
    work = Work(told, FolderParts(tmp_path), max_running=4)
    assert work.answers("answers", "answering", engine, asked) == expected
    assert engine.started == asked[PART:]
    assert told[0] == ("answering", PART, len(asked)) and told[-1] == ("answering", len(asked), len(asked))


def test_answers_when_a_stretch_was_broken_off_then_it_is_run_whole_again(tmp_path: Path) -> None:
    asked = generations(4 * PART + 3)
    work = Work(no_progress, FolderParts(tmp_path), max_running=PART // 2)  # a stretch is of two parts
    expected = work.answers("answers", "answering", PretendEngine(), asked)
    for file in (f"answers-{PART:06}", f"answers-{4 * PART:06}"):
        (tmp_path / file).unlink()
    engine = PretendEngine()
    assert work.answers("answers", "answering", engine, asked) == expected
    assert engine.started == asked[: 2 * PART] + asked[4 * PART :]


def test_part_when_made_then_it_is_not_made_again(tmp_path: Path) -> None:
    work = Work(no_progress, FolderParts(tmp_path))
    made: list[list[int]] = [[1], [2]]
    assert [work.part("one", NUMBERS, lambda: made.pop(0)) for _ in range(2)] == [[1], [1]]


@pytest.mark.parametrize(
    "damage", [lambda stored: stored[:-1], lambda stored: b"", lambda stored: stored[:40] + b"!" + stored[41:]]
)
def test_parts_when_a_file_is_damaged_then_it_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    work = Work(no_progress, FolderParts(tmp_path))
    doubled(work)
    (file,) = tmp_path.glob("doubled-*32")
    file.write_bytes(damage(file.read_bytes()))
    assert work.parts.read(file.name) is None
    assert doubled(work) == [2 * item for item in range(3 * PART + 5)]


def test_parts_when_written_then_nothing_else_lies_about(tmp_path: Path) -> None:
    parts = FolderParts(tmp_path / "new")
    assert not FolderParts(tmp_path / "new").begun
    parts.write("one", b"x")
    assert parts.begun and [path.name for path in (tmp_path / "new").iterdir()] == ["one"]
    parts.discard()
    assert parts.read("one") is None and not FolderParts(tmp_path / "new").begun
    parts.discard()


def test_parts_when_they_can_not_be_kept_then_it_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="file: unfinished work can't be kept there"):
        FolderParts(tmp_path / "file").write("one", b"")


def test_parts_when_another_process_discards_the_folder_meanwhile_then_they_are_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, others, write = FolderParts(tmp_path / "new"), [1, 2], whole.write_over

    def discarded_at_first(path: Path, content: bytes) -> None:
        if others and others.pop():
            parts.discard()
        write(path, content)

    monkeypatch.setattr("proxy.steering.work.write_over", discarded_at_first)
    parts.write("one", b"x")
    assert parts.read("one") == b"x" and not others

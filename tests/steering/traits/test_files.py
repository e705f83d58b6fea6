"""Traits on disk: what is written is read, people's comments stay, and nobody takes a name twice."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import InvalidRequest, NotFound, ProxyError, TraitConflict, TraitsUnavailable
from proxy.steering.traits import files as trait_files
from proxy.steering.traits.files import TraitFolder, edited, encode
from proxy.steering.traits.parts import Brief, from_templates
from proxy.steering.traits.trait import (
    Demonstration,
    InstructionPair,
    QuestionSet,
    Trait,
    Traits,
    decode_trait,
    load_traits,
)
from vector_store.whole import write_new

GRUMPY = from_templates(Brief("mood", "grumpy", "cheerful", "grumpy", "cheerful"))
TEXTS = st.text(min_size=1)


@st.composite
def traits(draw: st.DrawFn) -> Trait:
    questions = st.builds(QuestionSet, *[st.lists(TEXTS, min_size=1, max_size=3)] * 2)
    return Trait(
        id="any",
        positive="up",
        negative="down",
        description=draw(TEXTS),
        instructions=draw(st.lists(st.builds(InstructionPair, TEXTS, TEXTS), min_size=1, max_size=2)),
        questions=draw(questions),
        rubric=draw(TEXTS),
        question_sets=draw(st.dictionaries(TEXTS, questions, max_size=2)),
        demonstrations=draw(st.lists(st.builds(Demonstration, TEXTS, TEXTS, TEXTS), max_size=2)),
        source=draw(st.sampled_from(["written", "generated", "template"])),
        source_model=draw(st.none() | TEXTS),
    )


@given(traits())
@settings(max_examples=50)
def test_encode_then_the_same_trait_is_read(trait: Trait) -> None:
    assert msgspec.toml.decode(encode(trait), type=Trait) == trait


@given(traits(), traits())
@settings(max_examples=25)
def test_edited_then_what_was_changed_is_read_and_the_rest_is_as_it_was(before: Trait, after: Trait) -> None:
    changes = {"rubric": after.rubric, "instructions": after.instructions, "question_sets": after.question_sets}
    changed = msgspec.structs.replace(before, **changes)
    content = edited(b"# first line\n" + encode(before), changed, changes)
    assert msgspec.toml.decode(content, type=Trait) == changed
    assert content.startswith(b"# first line\n")


@pytest.mark.parametrize(
    "text", ["one\r\ntwo", "one\ntwo\r\n", "\none", "\n", 'a """quoted"""\nword"', "back\\\nslash", "\x00\n\x7f\u2028"]
)
def test_encode_when_a_text_is_awkward_then_the_same_text_is_read(text: str) -> None:
    trait = msgspec.structs.replace(GRUMPY, rubric=text)
    assert msgspec.toml.decode(encode(trait), type=Trait) == trait


def test_edited_when_a_field_is_emptied_then_it_is_gone() -> None:
    silly = load_traits()["silly"]
    without = msgspec.structs.replace(silly, question_sets={})
    assert decode_trait(edited(encode(silly), without, ["question_sets"]), "file") == without


def test_encode_then_a_person_can_read_it() -> None:
    text = encode(GRUMPY).decode()
    assert text.startswith("# A trait: two opposite personas.")
    assert '\nid = "mood"\n' in text and '\nsource = "template"\n' in text
    assert '\nrubric = """\nWhat ' in text and '\n    "How do I keep bananas from going brown?",\n' in text
    assert text.count("\n[[instructions]]\n") == 5


class Opened:
    """A folder as one process sees it."""

    def __init__(self, path: Path, limit: int = 10) -> None:
        self.path = path
        self.traits = Traits(path)
        self.folder = TraitFolder(self.traits, path, limit)

    def files(self) -> list[str]:
        return sorted(file.name for file in self.path.iterdir())


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path / "traits")


def named(trait_id: str, positive: str = "grumpy", negative: str = "cheerful") -> Trait:
    return msgspec.structs.replace(GRUMPY, id=trait_id, positive=positive, negative=negative)


def test_add_then_it_counts_at_once_here_and_for_whoever_reads_the_folder(opened: Opened) -> None:
    opened.folder.add(GRUMPY)
    assert opened.traits.current["mood"] == load_traits(opened.path)["mood"] == GRUMPY
    assert "grumpy" in opened.traits.poles and not opened.folder.built_in("mood")
    assert opened.files() == ["mood.toml"]


def test_add_when_it_is_a_file_then_it_is_kept_as_it_came(opened: Opened) -> None:
    content = b"# mine\n" + encode(GRUMPY)
    opened.folder.add(GRUMPY, content)
    assert opened.folder.content("mood") == content


@pytest.mark.parametrize(
    ("trait", "said"),
    [
        (named("mood", "hot", "cold"), "a trait 'mood' already"),
        (named("silly", "hot", "cold"), "a trait 'silly' already"),
        (named("other", "cheerful", "cold"), "'mood' has a pole 'cheerful' already"),
        (named("other", "hot", "serious"), "'silly' has a pole 'serious' already"),
    ],
)
def test_add_when_a_name_is_taken_then_conflict(opened: Opened, trait: Trait, said: str) -> None:
    opened.folder.add(GRUMPY)
    with pytest.raises(TraitConflict, match=said) as caught:
        opened.folder.add(trait)
    assert caught.value.code == "trait_exists"
    assert opened.files() == ["mood.toml"]


def test_add_when_the_files_name_is_taken_then_that_file_stays(opened: Opened) -> None:
    opened.path.mkdir()
    (opened.path / "other.toml").write_bytes(encode(GRUMPY))
    with pytest.raises(TraitConflict, match="other.toml is there already"):
        opened.folder.add(named("other", "hot", "cold"))
    assert load_traits(opened.path)["mood"] == GRUMPY and opened.files() == ["other.toml"]


def test_add_when_there_are_as_many_as_may_be_then_conflict(tmp_path: Path) -> None:
    opened = Opened(tmp_path / "traits", limit=1)
    opened.folder.add(GRUMPY)
    with pytest.raises(TraitConflict, match="max_traits is 1") as caught:
        opened.folder.add(named("other", "hot", "cold"))
    assert caught.value.code == "too_many_traits"


def test_add_when_something_is_wrong_with_it_then_the_field_is_named_and_nothing_written(opened: Opened) -> None:
    for trait, field in (
        (msgspec.structs.replace(GRUMPY, rubric=" "), "rubric"),
        (msgspec.structs.replace(GRUMPY, instructions=[]), "instructions"),
        (msgspec.structs.replace(GRUMPY, questions=QuestionSet([], [])), "questions"),
        (named("../up"), "id"),
        (named("x", "adaptable"), "positive"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            opened.folder.add(trait)
        assert caught.value.param == field
    assert not opened.path.exists()


def test_add_when_two_at_once_want_a_name_then_one_gets_it(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of one process, and two processes that both find the name free before either has written."""
    together = threading.Barrier(2)
    write = write_new

    def write_together(path: Path, content: bytes) -> None:
        together.wait(60)
        write(path, content)

    def tried(folder: TraitFolder, trait: Trait) -> str:
        try:
            folder.add(trait)
        except TraitConflict as error:
            return error.code
        return "added"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: tried(opened.folder, GRUMPY), range(8)))
        assert sorted(outcomes) == ["added"] + ["trait_exists"] * 7
        others = (opened.folder, Opened(opened.path).folder)
        monkeypatch.setattr(trait_files, "write_new", write_together)
        same = list(threads.map(tried, others, [named("other", "hot", "cold")] * 2))
        assert sorted(same) == ["added", "trait_exists"]
        poles = list(threads.map(tried, others, [named("one", "wet", "dry"), named("two", "dry", "wet")]))
        assert poles.count("added") <= 1
    load_traits(opened.path)  # whoever won, the folder is in order


def test_change_then_the_text_is_another_and_comments_stay(opened: Opened) -> None:
    opened.folder.add(GRUMPY, b"# mine\n" + encode(GRUMPY))
    changed = opened.folder.change("mood", {"rubric": "Count the sighs.\n"})
    assert opened.traits.current["mood"] == changed == msgspec.structs.replace(GRUMPY, rubric="Count the sighs.\n")
    assert opened.folder.content("mood").startswith(b"# mine\n") and opened.files() == ["mood.toml"]
    with pytest.raises(InvalidRequest, match="rubric is empty"):
        opened.folder.change("mood", {"rubric": ""})
    assert opened.traits.current["mood"] == changed


def test_delete_then_it_is_gone_at_once(opened: Opened) -> None:
    opened.folder.add(GRUMPY)
    assert opened.folder.delete("mood") == GRUMPY
    assert "mood" not in opened.traits.current and opened.files() == []
    assert not opened.folder.built_in("mood")  # asked by who had it listed a moment ago
    with pytest.raises(NotFound, match="no trait 'mood'; possible: dishonest"):
        opened.folder.delete("mood")


def test_built_in_traits_then_they_are_read_and_not_written(opened: Opened) -> None:
    assert opened.folder.built_in("silly")
    assert decode_trait(opened.folder.content("silly"), "file") == load_traits()["silly"]
    changes: list[Callable[[], Trait]] = [
        lambda: opened.folder.delete("silly"),
        lambda: opened.folder.change("silly", {"rubric": "x"}),
    ]
    for change in changes:
        with pytest.raises(TraitConflict, match="came with the package") as caught:
            change()
        assert caught.value.code == "trait_built_in"


def test_any_change_when_another_file_is_damaged_then_it_is_done(opened: Opened) -> None:
    opened.folder.add(GRUMPY)
    (opened.path / "bad.toml").write_text("id = 3")
    opened.folder.add(named("x", "hot", "cold"))
    assert opened.folder.change("mood", {"rubric": "Count."}).rubric == "Count."
    assert opened.folder.delete("mood").id == "mood"
    assert opened.files() == ["bad.toml", "x.toml"] and "x" in opened.traits.current


def test_any_change_when_the_traits_own_file_is_damaged_then_it_is_named_and_nothing_is_done(opened: Opened) -> None:
    opened.folder.add(GRUMPY)
    damaged = encode(GRUMPY) + b"["
    (opened.path / "mood.toml").write_bytes(damaged)
    changes: list[Callable[[], Trait]] = [
        lambda: opened.folder.change("mood", {"rubric": "x"}),
        lambda: opened.folder.delete("mood"),
    ]
    for change in changes:
        with pytest.raises(TraitConflict, match=r"'mood' right first. mood.toml: is not valid TOML") as caught:
            change()
        assert caught.value.code == "traits_damaged"
    assert opened.folder.get("mood") == GRUMPY and opened.folder.content("mood") == damaged
    late = Opened(opened.path)  # that never saw the trait
    with pytest.raises(NotFound, match=r"'mood' is damaged. mood.toml: "):
        late.folder.get("mood")
    for name in (named("mood", "hot", "cold"), named("x", "grumpy", "cold"), named("x", "hot", "cheerful")):
        with pytest.raises(TraitConflict, match=r"put it right first. mood.toml: ") as caught:
            late.folder.add(name)
        assert caught.value.code == "trait_exists"
    assert opened.files() == ["mood.toml"]


def test_any_change_when_two_files_want_a_name_then_it_is_told_and_nothing_is_done(opened: Opened) -> None:
    opened.folder.add(GRUMPY)
    (opened.path / "other.toml").write_bytes(encode(named("other", "grumpy", "cold")))
    with pytest.raises(TraitConflict, match=r"right first. other.toml: .* already has a pole 'grumpy'") as caught:
        opened.folder.delete("mood")
    assert caught.value.code == "traits_damaged" and opened.files() == ["mood.toml", "other.toml"]


def test_add_when_the_folder_can_not_be_made_then_it_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    opened = Opened(tmp_path / "file" / "traits")
    with pytest.raises(TraitsUnavailable) as caught:
        opened.folder.add(GRUMPY)
    assert isinstance(caught.value, ProxyError) and "Not a directory" in caught.value.message

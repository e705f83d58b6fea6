"""The text maps are fitted on varies along personality and names no trait; text of one's own is held to the same."""

import json
from pathlib import Path

import msgspec
import pytest

from proxy.demo.known import DemoWorld
from proxy.errors import SetupError
from proxy.steering.traits.trait import Trait, load_traits
from proxy.steering.transfer.pairs import Document
from proxy.steering.transfer.text import (
    Names,
    built_in_lists,
    documents,
    neutral_documents,
    read_corpus,
    system_prompts,
    words_of,
)
from tests.steering.pretend import make_trait

TRAITS = load_traits()


def custom(positive: str, negative: str) -> dict[str, Trait]:
    return {"own": msgspec.structs.replace(make_trait("own", positive, negative))}


def test_built_in_text_then_no_word_names_a_trait_and_no_question_is_a_trait_s() -> None:
    lists = built_in_lists()
    names = Names(TRAITS)
    assert [text for text in (*system_prompts(lists), *lists.questions) if names.found(text)] == []
    own = {text for trait in TRAITS.values() for text in (*trait.questions.extract, *trait.questions.evaluate)}
    assert own.isdisjoint(lists.questions)
    assert len(system_prompts(lists)) > 300 and len(set(system_prompts(lists))) == len(system_prompts(lists))


@pytest.mark.parametrize("world", [None, "demo"])
def test_documents_then_are_many_different_ones_in_an_order_of_the_seed(world: str | None) -> None:
    found = documents(TRAITS, world, 1, 400)
    assert len(found) > 390 and len({document.system for document in found}) > 150
    assert found == documents(TRAITS, world, 1, 400) != documents(TRAITS, world, 2, 400)
    assert all(document.answer is None for document in found)


def test_documents_of_the_demo_world_then_neither_roles_nor_questions_are_a_trait_s_own() -> None:
    found = documents(TRAITS, "demo", 0, 1200)
    own = {
        text for t in TRAITS.values() for text in (*t.question_sets["demo"].extract, *t.question_sets["demo"].evaluate)
    }
    assert own.isdisjoint(document.question for document in found)
    said = " ".join(document.system or "" for document in found)
    assert "clown" in " ".join(DemoWorld().texts().roles) and "clown" not in said and "judge" in said


def test_documents_when_a_custom_trait_has_a_word_then_it_is_left_out() -> None:
    before = words_of(documents(TRAITS, None, 0))
    after = words_of(documents(TRAITS | custom("grumpy", "friendly"), None, 0))
    assert {"grumpy", "friendly", "friend"} <= set(before)
    assert not any("grump" in word or "friendly" in word for word in after)


def test_neutral_documents_then_nobody_in_particular_is_asked() -> None:
    found = neutral_documents(TRAITS, None, 0, 200)
    assert {document.system for document in found} == {None} and len(found) > 50


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("What a silliness!", "silliness"),
        ("Dishonestly said", "dishonestly"),
        ("an unfocused mind", "unfocused"),
        ("in depth", "depth"),
        ("He lied.", "lied"),
        ("I believe the client", None),
        ("a cheetah and a sheep", None),
    ],
)
def test_names_when_a_form_or_another_word_of_a_pole_occurs_then_it_is_found(text: str, named: str | None) -> None:
    assert Names(TRAITS).found(text) == named


def test_names_when_there_are_no_traits_then_nothing_is_one() -> None:
    assert Names({}).found("Silly or serious?") is None


def test_names_when_a_pole_has_several_words_then_each_counts() -> None:
    names = Names(custom("risk-averse", "up"))
    assert [names.found(text) for text in ("A risky plan", "aversion", "going up", "upper")] == [
        "risky",
        "aversion",
        "up",
        None,
    ]


def test_corpus_when_json_lines_then_each_line_is_a_document(tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    lines = [
        {"question": "Why?", "system": "You are a baker.", "answer": "Because."},
        {"text": " Once upon. "},
        {"question": "How?"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    found = read_corpus(file, TRAITS, 0)
    assert set(found) == {
        Document("You are a baker.", "Why?", "Because."),
        Document(None, "Write a passage of text.", "Once upon."),
        Document(None, "How?"),
    }


def test_corpus_when_a_folder_then_paragraphs_are_answers(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("One line\nand another.\n\n\nA second paragraph.")
    (tmp_path / "b.bin").write_bytes(b"\xff")
    assert {document.answer for document in read_corpus(tmp_path, TRAITS, 0)} == {
        "One line and another.",
        "A second paragraph.",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"question": 3}', "line 1"),
        (b"not json", "line 1"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"", "no text in it"),
        (b'{"question": "Tell me a joke."}', "names a trait: 'joke'"),
        (b'{"question": "Why?", "answer": "In all seriousness: so."}', "names a trait: 'seriousness'"),
    ],
)
def test_corpus_when_it_can_t_be_used_then_one_line_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "text.jsonl"
    file.write_bytes(content)
    with pytest.raises(SetupError, match=message):
        read_corpus(file, TRAITS, 0)


def test_corpus_when_it_is_not_there_then_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="can't be read: No such file"):
        read_corpus(tmp_path / "none.jsonl", TRAITS, 0)

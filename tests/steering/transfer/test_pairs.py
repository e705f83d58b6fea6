"""Tokens of two models are paired where they end at the same character, whatever their templates and tokenizers."""

import dataclasses

import pytest

from proxy.steering.transfer.pairs import Document, pair
from tests.steering.transfer.pretend_pair import letter_model, word_model

DOCUMENT = Document("You are a baker.", "How are you?", "Well enough, thanks.")


def ends(text_of: list[str], rows: list[int]) -> list[str]:
    """What was read up to the end of each of the rows' tokens."""
    return ["".join(text_of[: row + 1]) for row in rows]


def test_pair_when_tokenizers_differ_then_rows_have_read_the_same_text() -> None:
    one, other = word_model(), letter_model()
    found = pair(one, other, DOCUMENT, "response")
    assert found is not None
    read_by_one = ends(one.pieces(found.source.response), found.source_rows)
    read_by_other = ends(other.pieces(found.target.response), found.target_rows)
    assert read_by_one == [text.removeprefix("final") for text in read_by_other]
    assert read_by_one == ["Well enough", "Well enough,", "Well enough, thanks", "Well enough, thanks."]


def test_pair_then_the_prompts_are_those_an_answer_is_generated_after() -> None:
    one, other = word_model(), letter_model()
    found = pair(one, other, DOCUMENT, "response")
    asked = pair(one, other, DOCUMENT, "last_prompt")
    assert found is not None and asked is not None
    assert (found.source.prompt, found.target.prompt) == (asked.source.prompt, asked.target.prompt)
    assert (asked.source_rows, asked.target_rows) == ([0], [0]) and not asked.source.response


@pytest.mark.parametrize("answer", ["", "   ", "Yes"])
def test_pair_when_nothing_is_left_after_the_first_token_then_there_is_none(answer: str) -> None:
    assert pair(word_model(), letter_model(), dataclasses.replace(DOCUMENT, answer=answer), "response") is None


def test_pair_when_a_template_changes_the_answer_then_there_is_none() -> None:
    assert pair(word_model(), letter_model(keeps_answers=False), DOCUMENT, "response") is None


def test_pair_when_a_document_is_longer_than_a_context_then_there_is_none() -> None:
    assert (
        pair(word_model(), letter_model(), dataclasses.replace(DOCUMENT, answer="on and on " * 200), "response") is None
    )

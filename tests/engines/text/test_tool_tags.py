"""Calls between `<tool_call>` tags, as Qwen writes them, become calls; everything else stays text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.base import Token
from proxy.engines.text.speech import Speaker
from tests.engines.tiny_models import byte_tokenizer

TAGGED = byte_tokenizer(harmony=False)
TAGGED.add_tokens(["<tool_call>", "</tool_call>"])
SPEAKER = Speaker(TAGGED, [])


def tokens_of(text: str) -> list[Token]:
    speech = SPEAKER.speech([])
    return [speech.add(token) for token in TAGGED.encode(text, add_special_tokens=False)]


def content(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens if token.channel == "content")


def calls(tokens: list[Token]) -> list[tuple[str | None, str]]:
    return [(token.opens, token.text) for token in tokens if token.channel == "arguments"]


def test_two_calls_when_complete_then_each_is_one_token_s_and_no_line_breaks_are_left() -> None:
    tokens = tokens_of(
        'Wait.<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>\n'
        '<tool_call>\n{"arguments": {}, "name": "g"}\n</tool_call>'
    )
    assert content(tokens) == "Wait."
    assert calls(tokens) == [("f", '{"a": "é"}'), ("g", "{}")]


@pytest.mark.parametrize("inside", ["{", "[1]", '{"name": "f"}', '{"name": 1, "arguments": {}}', '"f"', ""])
def test_what_is_no_call_when_between_tags_then_is_content_without_them(inside: str) -> None:
    tokens = tokens_of(f"a<tool_call>{inside}</tool_call>b")
    assert (content(tokens), calls(tokens)) == (f"a{inside}b", [])


def test_a_call_when_cut_off_then_is_left_out_and_steering_knows_it_was_one() -> None:
    speech = SPEAKER.speech([])
    assert speech.writing == "content"
    tokens = [speech.add(token) for token in TAGGED.encode('a<tool_call>{"name"', add_special_tokens=False)]
    assert (content(tokens), calls(tokens), speech.writing) == ("a", [], "arguments")


@given(st.lists(st.sampled_from(["<tool_call>", "</tool_call>", '{"name": "f", "arguments": {}}', "a", "\n"])))
def test_tags_when_anywhere_then_never_show(pieces: list[str]) -> None:
    tokens = tokens_of("".join(pieces))
    assert "tool_call" not in content(tokens)
    assert all(call == ("f", "{}") for call in calls(tokens))


def test_a_tokenizer_when_it_lacks_the_tags_then_they_are_text() -> None:
    plain = byte_tokenizer(harmony=False)
    speech = Speaker(plain, []).speech([])
    text = "<tool_call>{}</tool_call>"
    assert "".join(speech.add(token).text for token in plain.encode(text, add_special_tokens=False)) == text

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


def tokens_of(text: str, calls: bool = True) -> list[Token]:
    """With what is held back until the end."""
    speech = SPEAKER.speech([], calls)
    tokens = [speech.add(token) for token in TAGGED.encode(text, add_special_tokens=False)]
    rest = speech.rest()
    return tokens if rest is None else [*tokens, rest]


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


NO_CALLS = ["{", "[1]", '{"name": "f"}', '{"name": 1, "arguments": {}}', '"f"', "", "[" * 3000, '{"a":' * 3000]
DEEP = '{"name": "f", "arguments": {"a": ' + "[" * 99 + "]" * 99 + "}}"


@pytest.mark.parametrize("inside", [*NO_CALLS, DEEP])
@pytest.mark.parametrize("end", ["</tool_call>b", "", "<tool_call>"])
def test_what_is_no_call_when_after_a_tag_then_is_content_as_it_was_written(inside: str, end: str) -> None:
    text = f"a<tool_call>{inside}{end}"
    tokens = tokens_of(text)
    assert (content(tokens), calls(tokens)) == (text, [])


@pytest.mark.parametrize("end", ["", "</tool_call>", "</tool_call>\n"])
def test_a_call_when_complete_at_the_end_then_counts_with_or_without_its_closing_tag(end: str) -> None:
    tokens = tokens_of('See. <tool_call>\n{"name": "f", "arguments": {"x": 1}}' + end)
    assert (content(tokens), calls(tokens)) == ("See. ", [("f", '{"x": 1}')])


def test_a_call_when_it_is_being_written_then_steering_knows() -> None:
    speech = SPEAKER.speech([], calls=True)
    assert speech.writing == "content"
    tokens = [speech.add(token) for token in TAGGED.encode('a<tool_call>{"name"', add_special_tokens=False)]
    assert (content(tokens), calls(tokens), speech.writing) == ("a", [], "arguments")


PIECES = ["<tool_call>", "</tool_call>", '{"name": "f", "arguments": {}}', "a", "\n", '{"a": ', "é"]
TOO_DEEP = "[" * 200


@given(st.lists(st.sampled_from(PIECES)))
def test_anything_when_nobody_offered_tools_then_is_told_as_it_was_written(pieces: list[str]) -> None:
    tokens = tokens_of("".join(pieces), calls=False)
    assert (content(tokens), calls(tokens)) == ("".join(pieces), [])


@given(st.lists(st.sampled_from([*PIECES, TOO_DEEP])))
def test_anything_when_tools_were_offered_then_is_a_call_or_told_as_it_was_written(pieces: list[str]) -> None:
    tokens = tokens_of("".join(pieces))
    written = [
        f'<tool_call>{{"name": "{token.opens}", "arguments": {token.text}}}' if token.opens else token.text
        for token in tokens
    ]
    blanks = str.maketrans("", "", "\n")
    without_ends = "".join(pieces).replace("</tool_call>", "").translate(blanks)
    assert "".join(written).replace("</tool_call>", "").translate(blanks) == without_ends
    assert all(call == ("f", "{}") for call in calls(tokens))


def test_a_tokenizer_when_it_lacks_the_tags_then_they_are_text() -> None:
    plain = byte_tokenizer(harmony=False)
    speech = Speaker(plain, []).speech([], calls=True)
    text = "<tool_call>{}</tool_call>"
    assert "".join(speech.add(token).text for token in plain.encode(text, add_special_tokens=False)) == text

"""Calls that a grammar keeps in form are told while they are written, however the text is cut into tokens."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.base import Token
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.written_calls import WrittenSpeech

objects = st.dictionaries(
    st.text(max_size=4), st.recursive(st.text(max_size=6) | st.integers(), st.lists, max_leaves=4), max_size=3
)


class Pieces:
    """A tokenizer whose tokens are pieces of one text."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(self.pieces[id_] for id_ in ids)


def told(pieces: list[str]) -> list[Token]:
    speech = WrittenSpeech(Detokenizer(Pieces(pieces), frozenset()), {})
    tokens = [speech.add(number) for number in range(len(pieces))]
    rest = speech.rest()
    return [*tokens, rest] if rest is not None else tokens


def content(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens if token.channel == "content")


def calls(tokens: list[Token]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for token in tokens:
        if token.channel == "arguments":
            if token.opens is not None:
                found.append((token.opens, ""))
            found[-1] = found[-1][0], found[-1][1] + token.text
    return found


def written(name: str, arguments: Any) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


@given(st.data())
def test_calls_when_cut_anywhere_then_name_and_arguments_are_as_written(data: st.DataObject) -> None:
    arguments = data.draw(st.lists(objects, min_size=1, max_size=3))
    before = data.draw(st.sampled_from(["", "Let me see. ", "1 < 2 <tool"]))
    text = before + "\n".join(written(f"f{number}", each) for number, each in enumerate(arguments))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=40)))
    # No token holds a call's beginning and its end.
    ends = {found.start() + 1 for found in re.finditer("</tool_call>|}", text)}
    cuts = sorted({*cuts, *ends} - {0, len(text)})
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    tokens = told(pieces)
    assert [(name, json.loads(each)) for name, each in calls(tokens)] == [
        (f"f{n}", each) for n, each in enumerate(arguments)
    ]
    assert content(tokens) == before


@pytest.mark.parametrize(
    ("text", "said", "called"),
    [
        ("plain <tool", "plain <tool", []),
        ('Yes.<tool_call>\n{"name": "f", "argu', "Yes.", []),
        ('<tool_call>\n{"name": "f", "arguments": {"a": "}', "", [("f", '{"a": "}')]),
    ],
)
def test_call_when_it_is_cut_off_then_what_is_there_is_told(
    text: str, said: str, called: list[tuple[str, str]]
) -> None:
    tokens = told(list(text))
    assert (content(tokens), calls(tokens)) == (said, called)

"""Schemas as clients write them are brought into a form that answers can be kept to."""

import datetime
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from llguidance import LLTokenizer

from proxy.chat.schemas import closed
from proxy.engines.text.lexicon import Lexicon
from proxy.engines.text.speech import Speaker
from tests.engines.tiny_models import byte_tokenizer

NAMED: dict[str, Any] = {"type": "object", "properties": {"a": {}}}
CLOSED = {**NAMED, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (NAMED, CLOSED),
        ({**NAMED, "additionalProperties": True}, {**NAMED, "additionalProperties": True}),
        ({"type": "object"}, {"type": "object"}),
        ({"anyOf": [NAMED, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"allOf": [NAMED, NAMED]}, {"allOf": [NAMED, NAMED]}),
        ({"items": NAMED, "$defs": {"x": NAMED}}, {"items": CLOSED, "$defs": {"x": CLOSED}}),
        ({"properties": {"properties": NAMED}}, {"properties": {"properties": CLOSED}, "additionalProperties": False}),
        ({"enum": [NAMED]}, {"enum": [NAMED]}),
        (True, True),
        ({"type": "string", "format": "uri-reference"}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"propertyNames": {"type": "string"}, "uniqueItems": False}, {}),
        ({"propertyNames": {"pattern": "a"}}, {"propertyNames": {"pattern": "a"}}),
        ({"properties": {"format": NAMED}}, {"properties": {"format": CLOSED}, "additionalProperties": False}),
    ],
)
def test_schema_then_closed_and_without_what_says_nothing(schema: Any, expected: Any) -> None:
    assert closed(schema) == expected


class Shape(pydantic.BaseModel):
    kind: Literal["shape"]
    inner: list["Shape"] = []


class Word(pydantic.BaseModel):
    kind: Literal["word"]
    at: datetime.datetime
    price: Decimal
    path: Path
    link: pydantic.HttpUrl | None
    counts: dict[str, int]
    pair: tuple[int, str]


class Whole(pydantic.BaseModel):
    part: Shape | Word = pydantic.Field(discriminator="kind")
    note: str | None = None


@pytest.mark.parametrize("model", [Shape, Word, Whole])
def test_what_pydantic_writes_then_can_be_enforced(model: type[pydantic.BaseModel]) -> None:
    tokenizer = byte_tokenizer(harmony=False)
    speaker = Speaker(tokenizer, [])
    make = lambda: LLTokenizer(tokenizer.backend_tokenizer.to_str(), eos_token=sorted(speaker.stops))  # noqa: E731
    lexicon = Lexicon(make, len(tokenizer), speaker.special, speaker.stops)
    schema = json.dumps(closed(model.model_json_schema()))
    assert lexicon.constraint(schema).allowed().any()


def test_a_decimal_then_its_pattern_still_wants_a_digit() -> None:
    written = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"  # by some versions of Pydantic
    pattern = closed({"type": "string", "pattern": written})["pattern"]
    for text, right in (("1", True), ("-0.5", True), (".5", True), ("+", False), (".", False), ("", False)):
        assert (re.match(pattern, text) is not None) == right

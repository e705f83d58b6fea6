"""Items that must differ do, and an answer does not end up where it could only repeat one."""

import contextlib
import enum
import json
from typing import Any, Literal

import numpy as np
import pydantic
import pytest

from proxy.chat.schemas import closed
from proxy.engines.base import CallableFunction, CallRules
from proxy.engines.errors import Refusal
from proxy.engines.text.unique_items import UniqueItems, without_unique_items
from tests.engines.test_constrained import PLAIN, lexicon_of

LEXICON = lexicon_of(PLAIN)
SPELL = LEXICON.speller({})


class Colour(enum.Enum):
    RED = "red"
    ROSE = "rose"
    REED = 're"ñ'


class Bag(pydantic.BaseModel):
    colours: set[Colour] = pydantic.Field(min_length=2)
    digits: set[int] = pydantic.Field(min_length=3, max_length=12)
    either: set[Literal[True, 1, "1", None]]
    repeated: list[bool] = pydantic.Field(min_length=3, max_length=4)
    inner: "list[Bag]" = pydantic.Field(default=[], max_length=1)


DIGIT = {"type": "integer", "minimum": 0, "maximum": 11}
SCHEMAS: list[dict[str, Any]] = [
    {"type": "array", "items": {"enum": ["a", "ab", "b", 1, 12, None]}, "uniqueItems": True, "minItems": 5},
    {"type": "array", "items": DIGIT, "uniqueItems": True, "minItems": 12},
    {"type": "array", "items": {"type": "string", "maxLength": 1}, "uniqueItems": True, "maxItems": 6},
    {"type": "array", "items": {"type": "string", "format": "date"}, "uniqueItems": True, "maxItems": 9},
    {"type": "array", "items": {"type": ["integer", "null"], "maximum": 2000}, "uniqueItems": True, "maxItems": 9},
    {"type": "array", "items": {"type": "string", "pattern": "^[ab]*$"}, "uniqueItems": True, "maxItems": 6},
    {
        "type": "object",
        "properties": {"a b": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a~1b"}]}},
        "required": ["a b"],
    }
    | {"$defs": {"a/b": {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True}}},
]


def written(schema: Any, seed: int, most: int = 600) -> Any:
    """A value that follows the schema, of tokens that are drawn by chance."""
    constraint, chance = LEXICON.constraint(json.dumps(schema)), np.random.default_rng(seed)
    text = b""
    for _ in range(most):
        ids = constraint.allowed().nonzero()[0].tolist()
        assert ids, text
        ends = [id_ for id_ in ids if SPELL(id_) in (b'"', b"]", b"}", b",")]
        token = int(chance.choice(ends if ends and chance.random() < 0.4 else ids))
        if token == PLAIN.eos_token_id:
            return json.loads(text)
        constraint.take(token)
        text += SPELL(token)
    return None  # it was not over


def distinct(items: list[Any]) -> bool:
    return len({json.dumps(item) for item in items}) == len(items)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_items_when_they_must_differ_then_they_do(schema: dict[str, Any]) -> None:
    found = [value for seed in range(12) if (value := written(schema, seed)) is not None]
    assert found
    for value in found:
        items = value["a b"] if isinstance(value, dict) else value
        assert items is None or distinct(items)


def test_a_set_of_pydantic_s_then_its_items_differ_and_a_list_s_need_not() -> None:
    schema = closed(Bag.model_json_schema())
    found = [value for seed in range(20) if (value := written(schema, seed, 1500)) is not None]
    bags = [bag for value in found for bag in (value, *value.get("inner", []))]
    assert found
    for bag in bags:
        assert distinct(bag["colours"]) and distinct(bag["digits"]) and distinct(bag["either"])
        assert len(bag["repeated"]) > len(set(bag["repeated"]))
        Bag.model_validate(bag)


@pytest.mark.parametrize(
    ("begun", "text", "forbidden"),
    [
        ('["a"', ",", False),
        ('["a","', 'a"', True),
        ('["a","', "a", False),
        ('["a","', 'b","', False),
        ('["a","', 'b","a"', True),
        ('["a","\\u0061', '"', True),
        ('["\\"","\\"', '"', True),
        ("[1,", "1", False),
        ("[1,", "1]", True),
        ("[1,1", ".0", False),
        ("[1,1", ".0 ", True),
        ("[true,", "1,", False),
        ('[{"a":1,"b":[]},', '{"b":[],"a":1.0}', True),
        ('[{"a":1},', '{"a":2}', False),
        ('["', 'a","a"', True),
    ],
)
def test_what_would_repeat_an_item_then_forbidden(begun: str, text: str, forbidden: bool) -> None:
    items = UniqueItems({"type": "array", "uniqueItems": True})
    items.take(begun.encode())
    assert items.inside and items.forbids(text.encode()) == forbidden
    assert items.forbids(text.encode()) == forbidden  # nothing was done by asking


def test_unique_items_when_no_schema_of_a_value_says_so_then_it_may_repeat() -> None:
    schema = {"type": "object", "properties": {"uniqueItems": {"type": "array"}, "b": {"uniqueItems": True}}}
    items = UniqueItems(schema)
    items.take(b'{"uniqueItems":[1,1],"b":[1,')
    assert items.forbids(b"1]") and not items.forbids(b"2]")
    assert without_unique_items(schema) == {"type": "object", "properties": {"uniqueItems": {"type": "array"}, "b": {}}}


@pytest.mark.parametrize("items", [True, {}, {"type": "object"}, {"type": ["array", "null"]}, {"enum": [[1], 2]}])
def test_items_when_they_must_differ_and_may_be_arrays_or_objects_then_a_refusal(items: Any) -> None:
    with pytest.raises(Refusal, match="uniqueItems can't be enforced of arrays and objects"):
        LEXICON.constraint(json.dumps({"properties": {"a": {"anyOf": [{"items": items, "uniqueItems": True}]}}}))


@pytest.mark.parametrize(
    "odd",
    [
        {"prefixItems": 5, "items": {"type": "string"}},
        {"anyOf": 5, "items": {"anyOf": {"a": 1}}},
        {"items": {"enum": 5}},
        {"items": {"type": [{}]}},
        {"items": {"type": {"a": 1}}},
        {"items": {"$ref": 5}},
        {"items": {"$ref": "#/$defs/none/0"}, "$defs": {"none": []}},
        {"items": {"type": "string"}, "properties": 5, "patternProperties": [1]},
    ],
)
def test_a_schema_when_it_is_not_valid_then_no_more_than_a_refusal(odd: dict[str, Any]) -> None:
    with contextlib.suppress(Refusal):
        LEXICON.constraint(json.dumps({"type": "array", "uniqueItems": True, **odd}))
    items = UniqueItems({"uniqueItems": True, **odd})
    items.take(b'["a",{"b":[1')
    assert {items.enforceable(), items.forbids(b"2]")} <= {True, False}


def test_parameters_when_items_must_differ_then_refused_where_strict_and_else_not_enforced() -> None:
    parameters = json.dumps({"type": "array", "items": {"const": 1}, "uniqueItems": True})
    LEXICON.calls(CallRules((CallableFunction("f", parameters),)), None)
    with pytest.raises(Refusal, match="uniqueItems"):
        LEXICON.calls(CallRules((CallableFunction("f", parameters, strict=True),)), None)

"""JSON schemas as clients write them, brought into the form that answers are kept to.

Objects have the properties that are named, and no others, unless they say otherwise: small models go on inventing
properties where they may. What says nothing is left out, and a pattern of Pydantic's is put in words that can be
enforced. Pure.
"""

from collections.abc import Mapping
from typing import Any

_OF_SCHEMAS = ("properties", "$defs", "definitions")  # names, each with a schema
_LISTS = ("anyOf", "oneOf", "prefixItems")
_OPENED = ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref")
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
_ANY_NAMES: tuple[Any, ...] = (True, {}, {"type": "string"})
_PATTERNS = {
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$"
}  # a Decimal's, by some versions of Pydantic


def closed(schema: Any) -> Any:
    """The schema, with `additionalProperties` false in each object that names properties and says nothing of others.
    Parts of an `allOf` stay as they are: each would forbid what the others name. A `format` that nobody can enforce is
    left out, as JSON Schema wants it, and so are `propertyNames` that any name follows."""
    if not isinstance(schema, Mapping):
        return schema
    result = {name: _inside(name, value) for name, value in schema.items() if not _says_nothing(name, value)}
    if "properties" in schema and not any(name in schema for name in _OPENED):
        result["additionalProperties"] = False
    return result


def _inside(name: str, value: Any) -> Any:
    if name in _OF_SCHEMAS and isinstance(value, Mapping):
        return {key: closed(inner) for key, inner in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [closed(inner) for inner in value]
    if name == "pattern" and isinstance(value, str):
        return _PATTERNS.get(value, value)
    return closed(value) if name in ("items", "additionalProperties") else value


def _says_nothing(name: str, value: Any) -> bool:
    match name:
        case "format":
            return isinstance(value, str) and value not in _FORMATS
        case "propertyNames":
            return value in _ANY_NAMES
        case "uniqueItems":
            return value is False
    return False

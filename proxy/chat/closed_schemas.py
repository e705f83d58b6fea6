"""JSON schemas whose objects have the properties that are named, and no others, unless they say otherwise.

Small models go on inventing properties where they may. Pure.
"""

from collections.abc import Mapping
from typing import Any

_OF_SCHEMAS = ("properties", "$defs", "definitions")  # names, each with a schema
_LISTS = ("anyOf", "oneOf", "prefixItems")
_OPENED = ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref")


def closed(schema: Any) -> Any:
    """The schema, with `additionalProperties` false in each object that names properties and says nothing of others.
    Parts of an `allOf` stay as they are: each would forbid what the others name."""
    if not isinstance(schema, Mapping):
        return schema
    result = {name: _inside(name, value) for name, value in schema.items()}
    if "properties" in schema and not any(name in schema for name in _OPENED):
        result["additionalProperties"] = False
    return result


def _inside(name: str, value: Any) -> Any:
    if name in _OF_SCHEMAS and isinstance(value, Mapping):
        return {key: closed(inner) for key, inner in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [closed(inner) for inner in value]
    return closed(value) if name in ("items", "additionalProperties") else value

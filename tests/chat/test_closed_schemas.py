"""Objects are closed where they name properties and say nothing of others."""

from typing import Any

import pytest

from proxy.chat.closed_schemas import closed

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
    ],
)
def test_objects_then_closed_unless_they_say_otherwise(schema: Any, expected: Any) -> None:
    assert closed(schema) == expected

"""Which JSON schemas would take too long to compile, told without compiling them.

What takes long was measured of llguidance: its time goes with the square of an object's properties, and with the sum of
all numbers that others are to be multiples of. A pattern's size is bounded by llguidance itself. Knows no models.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

MAX_SCHEMA_BYTES = 64 * 1024  # of JSON: with all bounds the worst takes less than a second and 100 MB
MAX_PROPERTIES = 2000  # of one object
MAX_MULTIPLES = 40_000


def too_large(schema: str) -> str | None:
    """What of a schema, as JSON text, is beyond a bound, and the bound; None for nothing, or for what is no JSON."""
    size = len(schema.encode())
    if size > MAX_SCHEMA_BYTES:
        return f"it is {size} bytes long as JSON; possible: up to {MAX_SCHEMA_BYTES}"
    try:
        parts = list(_objects(json.loads(schema)))
    except (ValueError, RecursionError):
        return None
    most = max((len(part["properties"]) for part in parts if isinstance(part.get("properties"), Mapping)), default=0)
    if most > MAX_PROPERTIES:
        return f"an object has {most} properties; possible: up to {MAX_PROPERTIES}"
    factors = {part["multipleOf"] for part in parts if type(part.get("multipleOf")) in (int, float)}
    total = sum(_digits(factor) for factor in factors)
    if total > MAX_MULTIPLES:
        return f"the multipleOf in it come to {total} without their decimal points; possible: up to {MAX_MULTIPLES}"
    return None


def _digits(number: int | float) -> int:
    """The number without zeros at its end and without its decimal point."""
    digits = "".join(map(str, Decimal(str(number)).as_tuple().digits)).rstrip("0")
    return int(digits or "0")


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part

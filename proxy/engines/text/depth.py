"""How deeply JSON may be nested that templates and clients are handed: they go through it by calling themselves.

Python's own bound on reading it differs from version to version. Knows nothing of what the JSON is.
"""

from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 64


def too_deep(value: Any) -> bool:
    """Whether lists and mappings lie in one another more than `MAX_DEPTH` levels deep."""
    level, depth = [value], 1
    while level := [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            return True
    return False


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()

"""Compiled schemas, kept while they fit. Knows nothing of what compiles them.

What a compiled schema takes can't be asked of it, since it lies in native memory; it grows with the schema's text.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from proxy.engines.errors import Refusal
from proxy.engines.text.schema_bounds import too_large

T = TypeVar("T")

MAX_KEPT_BYTES = 64 * 1024 * 1024
# Measured of llguidance: constants take most for each byte, and the smallest schema about 0.15 MB.
_PER_BYTE = 600
_AT_LEAST = 150_000


class KeptSchemas(Generic[T]):
    """One model's, by their text; what was not asked for longest goes first. Any thread may use it."""

    def __init__(self, compile: Callable[[str], T], max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._compile = compile
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __call__(self, schema: str) -> T:
        """The compiled schema. Refusal for one that is too large, and whatever `compile` raises, which is not kept."""
        with self._lock:
            if schema in self._kept:
                self._kept.move_to_end(schema)
                return self._kept[schema]
        if (beyond := too_large(schema)) is not None:
            raise Refusal(beyond, "json_schema")
        compiled = self._compile(schema)
        with self._lock:
            if schema not in self._kept:
                self._kept[schema] = compiled
                self._bytes += _bytes(schema)
            while self._bytes > self._max_bytes:
                self._bytes -= _bytes(self._kept.popitem(last=False)[0])
        return compiled

    @property
    def n_bytes(self) -> int:
        """What all that is kept takes, about."""
        return self._bytes


def _bytes(schema: str) -> int:
    return _AT_LEAST + _PER_BYTE * len(schema.encode())

"""Persona vectors and their files. No torch, no server."""

from vector_store.store import VectorStore
from vector_store.vector import (
    CONDITIONS,
    SIDES,
    SPANS,
    Condition,
    Count,
    CurvePoint,
    FloatArray,
    Origin,
    PersonaVector,
    PoleChoice,
    Positions,
    Side,
    Span,
    VectorHeader,
    opposite,
)

__all__ = [
    "CONDITIONS",
    "SIDES",
    "SPANS",
    "Condition",
    "Count",
    "CurvePoint",
    "FloatArray",
    "Origin",
    "PersonaVector",
    "PoleChoice",
    "Positions",
    "Side",
    "Span",
    "VectorHeader",
    "VectorStore",
    "opposite",
]

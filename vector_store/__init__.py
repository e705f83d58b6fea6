"""Persona vectors and their files. No torch, no server."""

from vector_store.errors import (
    BadVectorFile,
    ImportRefused,
    ReadOnlyVectors,
    StoreUnreachable,
    VectorExists,
    VectorNotFound,
    VectorStoreError,
)
from vector_store.judged import JudgedBy
from vector_store.store import VectorStore
from vector_store.sweep import Measured, Sweep, SweepKind, SweepPoint
from vector_store.transfer import Transferred, UsedMap
from vector_store.vector import (
    CONDITIONS,
    SIDES,
    SPANS,
    Condition,
    Count,
    CurvePoint,
    Filters,
    FloatArray,
    Origin,
    PersonaVector,
    PlaceGain,
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
    "BadVectorFile",
    "Condition",
    "Count",
    "CurvePoint",
    "Filters",
    "FloatArray",
    "ImportRefused",
    "JudgedBy",
    "Measured",
    "Origin",
    "PersonaVector",
    "PlaceGain",
    "PoleChoice",
    "Positions",
    "ReadOnlyVectors",
    "Side",
    "Span",
    "StoreUnreachable",
    "Sweep",
    "SweepKind",
    "SweepPoint",
    "Transferred",
    "UsedMap",
    "VectorExists",
    "VectorHeader",
    "VectorNotFound",
    "VectorStore",
    "VectorStoreError",
    "opposite",
]

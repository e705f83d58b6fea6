"""What the files of other tools hold: one direction per block, and next to nothing of how it was found."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vector_store.errors import ImportRefused
from vector_store.limits import MAX_BLOCKS, MAX_HIDDEN
from vector_store.vector import FloatArray


@dataclass(frozen=True)
class Directions:
    """`rows`: float32[n_layers, hidden], the direction added at the output of each block, zeros where the file has
    none. `model`, `trait` and `pole`, the one they lead to, are what the file says of itself; None is nothing. `hint`
    is a model or a family of models, as other tools name it."""

    rows: FloatArray
    model: str | None = None
    trait: str | None = None
    pole: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Exported(Directions):
    """Directions on their way out. `note` says in words what they are and how strong; `effects` is per block, as in
    VectorHeader.effects."""

    note: str = ""
    created: str = ""
    effects: tuple[float | None, ...] = ()


def of_blocks(found: Mapping[int, FloatArray], n_layers: int | None) -> FloatArray:
    """float32[n_layers, hidden] from single blocks' directions; without `n_layers` the last block found is the last
    there is. ImportRefused where there are none, they differ in length, or the model has no such block."""
    if not found:
        raise ImportRefused("the file holds no directions")
    last = max(found)
    if min(found) < 0 or last >= (MAX_BLOCKS if n_layers is None else n_layers):
        there = "no model has that many" if n_layers is None else f"the model has blocks 0 to {n_layers - 1}"
        raise ImportRefused(f"the file has directions for the blocks {min(found)} to {last}; {there}")
    shapes = {array.shape for array in found.values()}
    hidden = next(iter(shapes))[0]
    if shapes != {(hidden,)} or not 1 <= hidden <= MAX_HIDDEN:
        raise ImportRefused(f"the directions are no vectors of one length from 1 to {MAX_HIDDEN}")
    rows = np.zeros((last + 1 if n_layers is None else n_layers, hidden), np.float32)
    for block, array in found.items():
        rows[block] = array
    return rows

"""Two ways to keep a vector as a tensor of a row per block in a torch file, told apart by one row.

The paper's (Chen et al. 2025, "Persona Vectors") is [n_layers + 1, hidden]: row 0 is the embeddings', row b + 1 that of
block b. Hotwire's, of the vLLM plugin hotwire-vllm, is [n_layers, hidden], row b is block b's; there a file may also
hold a dict, of which the first tensor counts, or a single direction for whatever block a request names.
"""

from typing import Any

import numpy as np

from vector_store.errors import ImportRefused
from vector_store.formats.directions import Directions, Exported
from vector_store.formats.pickled import Tensor, load, save
from vector_store.limits import MAX_BLOCKS, MAX_HIDDEN


def read_paper(content: bytes, n_layers: int | None) -> Directions:
    """ImportRefused where this is no such file, or not of `n_layers` blocks."""
    loaded = load(content)
    if not isinstance(loaded, Tensor):
        raise ImportRefused(f"the torch file holds {_described(loaded)}, not a tensor of [blocks + 1, hidden size]")
    return Directions(_rows(loaded, n_layers, 1))


def write_paper(exported: Exported) -> bytes:
    """The file's bytes; the embeddings' row, of which nothing is known, is zeros."""
    return save(np.concatenate([np.zeros_like(exported.rows[:1]), exported.rows]))


def read_hotwire(content: bytes, n_layers: int | None) -> Directions:
    """ImportRefused where this is no such file, or not of `n_layers` blocks, or says nothing of its block."""
    loaded = load(content)
    if isinstance(loaded, dict):
        loaded = next((value for value in loaded.values() if isinstance(value, Tensor)), loaded)
    if not isinstance(loaded, Tensor):
        raise ImportRefused(f"the torch file holds {_described(loaded)}, not a tensor of [blocks, hidden size]")
    if len(loaded.shape) == 1:
        raise ImportRefused("the torch file holds one direction and does not say of which block")
    return Directions(_rows(loaded, n_layers, 0))


def write_hotwire(exported: Exported) -> bytes:
    """The file's bytes."""
    return save(exported.rows)


def n_rows(content: bytes) -> int | None:
    """How many rows the file's only tensor has; None where it holds something else."""
    loaded = load(content)
    return loaded.shape[0] if isinstance(loaded, Tensor) and len(loaded.shape) == 2 else None


def _rows(tensor: Tensor, n_layers: int | None, extra: int) -> np.ndarray:
    wanted = "blocks + 1" if extra else "blocks"
    if len(tensor.shape) != 2:
        raise ImportRefused(f"the torch file holds {_described(tensor)}, not one of [{wanted}, hidden size]")
    rows, hidden = tensor.shape
    if n_layers is not None and rows != n_layers + extra:
        raise ImportRefused(f"the torch file has {rows} rows, where {wanted} of this model are {n_layers + extra}")
    if not extra < rows <= MAX_BLOCKS + extra or hidden > MAX_HIDDEN:
        raise ImportRefused(f"the torch file holds {_described(tensor)}; no model has as many, or as few")
    return tensor.floats()[extra:]


def _described(loaded: Any) -> str:
    if isinstance(loaded, Tensor):
        return f"a tensor of {list(loaded.shape)}"
    if isinstance(loaded, dict):
        return f"a dict of {', '.join(f'{key!s:.40}' for key in list(loaded)[:8]) or 'nothing'}"
    return f"a {type(loaded).__name__}"

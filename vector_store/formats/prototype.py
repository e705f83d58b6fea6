"""The JSON of this server's prototype: under `vectors` a list of numbers for each block, `layer_0`, `layer_1`, ...

Its `effectiveness_scores` were worked out from a block's number and its direction's numbers, never from an answer, so
they are not taken over; ours are measured, or absent.
"""

import re

import msgspec
import numpy as np

from vector_store.errors import ImportRefused
from vector_store.formats.directions import Directions, Exported, of_blocks

_LAYER = re.compile(r"layer_(\d{1,4})")


class _Metadata(msgspec.Struct):
    """`pole` is ours: whom the directions lead to."""

    pole: str | None = None


class _File(msgspec.Struct):
    vectors: dict[str, list[float]]
    model_id: str | None = None
    trait_id: str | None = None
    metadata: _Metadata | None = None


def read(content: bytes, n_layers: int | None) -> Directions:
    """ImportRefused where this is no such file, or one of a model with fewer blocks."""
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ImportRefused(f"not the prototype's JSON: {error}") from error
    found = {}
    for name, values in file.vectors.items():
        layer = _LAYER.fullmatch(name)
        if layer is None:
            raise ImportRefused(f"vectors has an entry {name:.40}; possible: layer_0, layer_1, ...")
        with np.errstate(over="ignore"):  # what is too large for float32 is refused with all that is not finite
            found[int(layer[1])] = np.array(values, np.float64).astype(np.float32)
    return Directions(
        of_blocks(found, n_layers), file.model_id, file.trait_id, file.metadata.pole if file.metadata else None
    )


def write(exported: Exported) -> bytes:
    """The file's bytes."""
    layers = [f"layer_{block}" for block in range(len(exported.rows))]
    return msgspec.json.encode(
        {
            "model_id": exported.model,
            "trait_id": exported.trait,
            "generated_at": exported.created,
            "vectors": dict(zip(layers, map(np.ndarray.tolist, exported.rows), strict=True)),
            "effectiveness_scores": {
                layer: effect for layer, effect in zip(layers, exported.effects, strict=True) if effect is not None
            },
            "metadata": {"pole": exported.pole, "note": exported.note},
        }
    )

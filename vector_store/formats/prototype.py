"""The JSON of this server's prototype: under `vectors` a list of numbers for each block, `layer_0`, `layer_1`, ...

Its `effectiveness_scores` were worked out from a block's number and its direction's numbers, never from an answer, so
they are not taken over; ours are measured, or absent.
"""

import re

import msgspec
import numpy as np

from vector_store.errors import ImportRefused
from vector_store.formats.directions import Directions, Exported, of_blocks
from vector_store.limits import MAX_HIDDEN
from vector_store.vector import FloatArray

_LAYER = re.compile(r"layer_(\d{1,4})")
MAX_QUOTES = 20_000  # a file has some four for each block
MAX_LAYER_BYTES = 32 * MAX_HIDDEN


class _Metadata(msgspec.Struct):
    """`pole` is ours: whom the directions lead to."""

    pole: str | None = None


class _File(msgspec.Struct):
    vectors: dict[str, msgspec.Raw]
    model_id: str | None = None
    trait_id: str | None = None
    metadata: _Metadata | None = None


def read(content: bytes, n_layers: int | None) -> Directions:
    """ImportRefused where this is no such file, or one of a model with fewer blocks. One block's numbers are read after
    the other, since in Python they take many times what they do in the file."""
    if content.count(b'"') > MAX_QUOTES:
        raise ImportRefused("not the prototype's JSON: it has far more texts in it")
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ImportRefused(f"not the prototype's JSON: {error}") from error
    found = {}
    for name, values in file.vectors.items():
        layer = _LAYER.fullmatch(name)
        if layer is None:
            raise ImportRefused(f"vectors has an entry {name:.40}; possible: layer_0, layer_1, ...")
        found[int(layer[1])] = _numbers(name, values)
    return Directions(
        of_blocks(found, n_layers), file.model_id, file.trait_id, file.metadata.pole if file.metadata else None
    )


def _numbers(name: str, values: msgspec.Raw) -> FloatArray:
    content = bytes(values)
    if len(content) > MAX_LAYER_BYTES:
        raise ImportRefused(f"{name} has more numbers than any model's residual")
    try:
        numbers = np.array(msgspec.json.decode(content, type=list[float]), np.float64)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ImportRefused(f"not the prototype's JSON: {name}: {error}") from error
    with np.errstate(over="ignore"):  # what is too large for float32 is refused with all that is not finite
        return numbers.astype(np.float32)


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

"""Control vectors as llama.cpp and repeng keep them: a GGUF file with a tensor `direction.N` for block N.

Read and written here with numpy alone. llama.cpp adds `direction.N` at the output of block N, counted from 0, and
refuses a file with `direction.0`: block 0 is out of its reach. So that nothing is lost on the way back, ours stands in
the key `persona_proxy.direction_0`, which llama.cpp passes over.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from vector_store.errors import ImportRefused
from vector_store.formats.directions import Directions, Exported, of_blocks
from vector_store.limits import MAX_BLOCKS, MAX_HIDDEN, MAX_NAME
from vector_store.vector import FloatArray

MAGIC = b"GGUF"
ARCHITECTURE = "controlvector"
BLOCK_0 = "persona_proxy.direction_0"
MAX_KEYS = 1024
MAX_TEXT_BYTES = 64 * 1024  # of one text
MAX_TEXTS = 1024  # of a list, which no control vector has
_ALIGNMENT = 32
_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "<u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_UINT32, _FLOAT32, _STRING, _ARRAY = 4, 6, 8, 9
_TENSORS = {0: "<f4", 1: "<f2", 30: "bfloat16"}
_NAME = re.compile(r"direction\.(\d{1,4})")


def read(content: bytes, n_layers: int | None) -> Directions:
    """ImportRefused where this is no whole control vector."""
    file = _Bytes(content)
    if file.take(len(MAGIC)) != MAGIC:
        raise ImportRefused("not a GGUF file")
    version, n_tensors, n_keys = file.number("<u4"), file.number("<u8"), file.number("<u8")
    if version not in (2, 3):
        raise ImportRefused(f"a GGUF file of version {version}; possible: 2, 3")
    if n_tensors > MAX_BLOCKS or n_keys > MAX_KEYS:
        raise ImportRefused(f"a GGUF file with {n_tensors} tensors and {n_keys} keys is no control vector")
    keys = {file.string(): file.value(file.number("<u4")) for _ in range(n_keys)}
    architecture = _said(keys, "general.architecture")
    if architecture != ARCHITECTURE:
        raise ImportRefused(f"the GGUF file is a {architecture!s:.40}, not a control vector")
    tensors = [file.tensor() for _ in range(n_tensors)]
    alignment = keys.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ImportRefused("the GGUF file's alignment is no power of two")
    start = _aligned(file.position, alignment)
    if sum(n_elements for _, n_elements, _, _ in tensors) > len(content):
        raise ImportRefused("the GGUF file says it holds more than it does")
    found: dict[int, FloatArray] = {}
    for tensor, n_elements, kind, offset in tensors:
        numbered = _NAME.fullmatch(tensor)
        if numbered is None:
            raise ImportRefused(f"the GGUF file has a tensor {tensor:.40}; possible: direction.1, direction.2, ...")
        file.position = start + offset
        if n_elements > MAX_HIDDEN:
            raise ImportRefused(f"the tensor {tensor} has {n_elements} numbers; possible: up to {MAX_HIDDEN}")
        found[int(numbered[1])] = _floats(file, n_elements, kind)
    ours = BLOCK_0 in keys
    if ours:
        found[0] = _own_block_0(keys[BLOCK_0])
    # Others put the name of an architecture into the hint, ours is the model's id.
    hint, name = _said(keys, "controlvector.model_hint"), _said(keys, "general.name")
    rows = of_blocks(found, n_layers)
    return Directions(rows, model=hint, pole=name) if ours else Directions(rows, hint=hint)


def _said(keys: Mapping[str, Any], key: str) -> str | None:
    """A text the file says of itself, None where it says nothing."""
    value = keys.get(key)
    if value is not None and not (isinstance(value, str) and len(value) <= MAX_NAME):
        raise ImportRefused(f"the GGUF file's {key} is no text of up to {MAX_NAME} characters")
    return value or None


def _own_block_0(value: Any) -> FloatArray:
    if not isinstance(value, np.ndarray) or len(value) > MAX_HIDDEN:
        raise ImportRefused(f"the GGUF file's {BLOCK_0} is no list of up to {MAX_HIDDEN} numbers")
    with np.errstate(over="ignore"):  # infinite numbers are found out later
        return value.astype(np.float32)


def write(exported: Exported) -> bytes:
    """The file's bytes: every block has its tensor, so that llama.cpp may be told any range of them."""
    n_layers, hidden = exported.rows.shape
    keys = [
        _text("general.architecture", ARCHITECTURE),
        _text("general.name", exported.pole or ""),
        _text("general.description", exported.note),
        _text("controlvector.model_hint", exported.model or ""),
        _string("controlvector.layer_count") + struct.pack("<II", _UINT32, n_layers - 1),
        _string(BLOCK_0) + struct.pack("<IIQ", _ARRAY, _FLOAT32, hidden) + exported.rows[0].astype("<f4").tobytes(),
    ]
    size = _aligned(4 * hidden, _ALIGNMENT)
    infos = [
        _string(f"direction.{block}") + struct.pack("<IQIQ", 1, hidden, 0, (block - 1) * size)
        for block in range(1, n_layers)
    ]
    head = b"".join([MAGIC, struct.pack("<IQQ", 3, len(infos), len(keys)), *keys, *infos])
    data = [row.astype("<f4").tobytes().ljust(size, b"\0") for row in exported.rows[1:]]
    return head.ljust(_aligned(len(head), _ALIGNMENT), b"\0") + b"".join(data)


class _Bytes:
    """Steps through the bytes; whatever would lie beyond their end is refused before anything is made of it."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self.position = 0
        self.listed_texts = 0

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if end > len(self._content):
            raise ImportRefused("the GGUF file is cut off, or not one")
        taken = self._content[self.position : end]
        self.position = end
        return taken

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count), dtype)

    def number(self, dtype: str) -> Any:
        return self.array(dtype, 1)[0].item()

    def string(self) -> str:
        size = self.number("<u8")
        if size > MAX_TEXT_BYTES:
            raise ImportRefused(f"the GGUF file has a text of {size} bytes; possible: up to {MAX_TEXT_BYTES}")
        return str(self.take(size), "utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A number, a text, or an array of numbers or texts."""
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise ImportRefused(f"the GGUF file has a value of the unknown kind {kind}")
        inner, count = self.number("<u4"), self.number("<u8")
        if inner in _NUMBERS:
            return self.array(_NUMBERS[inner], count)
        if inner != _STRING:
            raise ImportRefused("the GGUF file has lists of lists, which control vectors have no use for")
        if count > MAX_TEXTS:
            raise ImportRefused(f"the GGUF file has a list of {count} texts, which control vectors have no use for")
        self.listed_texts += count
        if self.listed_texts > MAX_TEXTS:
            raise ImportRefused("the GGUF file has more lists of texts than a control vector has use for")
        return [self.string() for _ in range(count)]

    def tensor(self) -> tuple[str, int, int, int]:
        """Name, number of elements, kind, and offset in the data."""
        name, n_dims = self.string(), self.number("<u4")
        if n_dims != 1:
            raise ImportRefused(f"the tensor {name:.40} has {n_dims} dimensions; a direction has one")
        return name, self.number("<u8"), self.number("<u4"), self.number("<u8")


def _floats(file: _Bytes, count: int, kind: int) -> FloatArray:
    if kind not in _TENSORS:
        raise ImportRefused(f"the GGUF file's directions are of kind {kind}; possible: F32, F16 and BF16 (0, 1, 30)")
    if _TENSORS[kind] == "bfloat16":
        return (file.array("<u2", count).astype(np.uint32) << 16).view(np.float32)
    return file.array(_TENSORS[kind], count).astype(np.float32)


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", _STRING) + _string(value)


def _string(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment

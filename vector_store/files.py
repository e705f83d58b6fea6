"""One persona vector as one safetensors file: arrays as tensors, the rest as JSON in the header.

Bytes in, bytes out: knows nothing of where a file lies and which others there are.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import fields

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vector_store.errors import BadVectorFile
from vector_store.limits import MAX_HEADER_BYTES, check
from vector_store.vector import CONDITIONS, SPANS, FloatArray, PersonaVector, VectorHeader

METADATA_KEY = "persona_vector"
FORMAT = 1
HEADER_FIELDS = tuple(item.name for item in fields(VectorHeader))
DIFFERENCE = "difference"
_LENGTH = struct.Struct("<Q")  # of the JSON that follows it
_FIRST_READ = 64 * 1024  # most headers are shorter

ReadPart = Callable[[int, int], bytes]  # the file's bytes from one offset to another, fewer where it ends before


class _Stored(msgspec.Struct):
    format: int
    tensors_sha256: str
    header: VectorHeader


def encode(vector: PersonaVector) -> bytes:
    """The file's bytes; equal for equal vectors."""
    tensors = _tensors(vector)
    stored = _Stored(FORMAT, tensors_digest(tensors), header_of(vector))
    return save(tensors, {METADATA_KEY: msgspec.json.encode(stored).decode()})


def header_of(vector: PersonaVector) -> VectorHeader:
    """All of a vector but its arrays."""
    return VectorHeader(**{name: getattr(vector, name) for name in HEADER_FIELDS})


def content_id(vector: PersonaVector) -> str:
    """A name for the vector that nothing else has: trait, time and a digest of everything in it."""
    digest = hashlib.sha256(encode(vector)).hexdigest()[:8]
    stamp = "".join(c for c in vector.created if c.isalnum())[:15]
    return f"{vector.trait}-{stamp}-{digest}"


def decode_header(read: ReadPart, size: int, name: str) -> VectorHeader:
    """The header of a file of `size` bytes without reading its arrays; `name` is for messages. BadVectorFile where the
    file is foreign or cut off. Nothing is read or made that is larger than the file."""
    return _stored(read, size, name).header


def decode(content: bytes, name: str) -> PersonaVector:
    """The whole vector; its arrays are read-only. BadVectorFile where the file is damaged or foreign."""
    stored = _stored(lambda start, end: content[start:end], len(content), name)
    try:
        tensors = load(content)
        if tensors_digest(tensors) != stored.tensors_sha256:
            raise BadVectorFile(f"{name}: the arrays are not the ones that were written")
        vector = _build(stored.header, tensors)
        _check_directions(vector)
        return vector
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise error if isinstance(error, BadVectorFile) else BadVectorFile(f"{name}: {error}") from error


def is_vector_file(content: bytes) -> bool:
    """Whether this is, or was, a safetensors file: a length that fits and then a JSON object."""
    length = _LENGTH.unpack_from(content)[0] if len(content) > _LENGTH.size else 0
    return 1 < length <= len(content) - _LENGTH.size and content[_LENGTH.size : _LENGTH.size + 1] == b"{"


def same(one: PersonaVector, other: PersonaVector) -> bool:
    """Whether two vectors are equal in everything, however their files were written."""
    return header_of(one) == header_of(other) and tensors_digest(_tensors(one)) == tensors_digest(_tensors(other))


def tensors_digest(tensors: Mapping[str, FloatArray]) -> str:
    """SHA-256 over names, shapes and bytes, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _tensors(vector: PersonaVector) -> dict[str, FloatArray]:
    tensors = {f"residual_norms.{span}": norms for span, norms in vector.residual_norms.items()}
    for span, means in vector.means.items():
        tensors.update({f"means.{span}.{condition}": array for condition, array in means.items()})
    if vector.difference is not None:
        tensors[DIFFERENCE] = vector.difference
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _build(header: VectorHeader, tensors: Mapping[str, FloatArray]) -> PersonaVector:
    for array in tensors.values():
        array.flags.writeable = False
    spans = [span for span in SPANS if f"residual_norms.{span}" in tensors]
    return PersonaVector(
        **{name: getattr(header, name) for name in HEADER_FIELDS},
        means={
            span: {
                condition: tensors[f"means.{span}.{condition}"]
                for condition in CONDITIONS
                if f"means.{span}.{condition}" in tensors
            }
            for span in spans
        },
        residual_norms={span: tensors[f"residual_norms.{span}"] for span in spans},
        difference=tensors.get(DIFFERENCE),
    )


def _check_directions(vector: PersonaVector) -> None:
    """ValueError where a pole can't be steered: its direction has no length, or one that float32 can't hold."""
    for side, choice in vector.poles.items():
        with np.errstate(over="ignore", invalid="ignore"):
            length = float(np.linalg.norm(vector.direction(side, choice.span, choice.block)))
        if not 0 < length < np.inf:
            raise ValueError(f"the direction of the {side} pole has the length {length:g} at block {choice.block}")


def _stored(read: ReadPart, size: int, name: str) -> _Stored:
    start = read(0, min(_FIRST_READ, size))
    length = _LENGTH.unpack_from(start)[0] if len(start) >= _LENGTH.size else size
    end = _LENGTH.size + length
    if end > size:
        raise BadVectorFile(f"{name}: not a safetensors file, or cut off")
    if length > MAX_HEADER_BYTES:
        raise BadVectorFile(f"{name}: its header is longer than {MAX_HEADER_BYTES} bytes")
    content = start[_LENGTH.size : end] if end <= len(start) else read(_LENGTH.size, end)
    try:
        table = json.loads(content)
        metadata = table.pop("__metadata__", None) or {}
        arrays_end = max((info["data_offsets"][1] for info in table.values()), default=0)
        if end + arrays_end != size:
            raise BadVectorFile(f"{name}: cut off, or something follows its end")
        if METADATA_KEY not in metadata:
            raise BadVectorFile(f"{name}: not a persona vector")
        version = msgspec.json.decode(metadata[METADATA_KEY], type=dict).get("format")
        if version != FORMAT:
            raise BadVectorFile(f"{name}: written in format {version}, this version reads format {FORMAT}")
        stored = msgspec.json.decode(metadata[METADATA_KEY], type=_Stored)
        check(stored.header)
        return stored
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise error if isinstance(error, BadVectorFile) else BadVectorFile(f"{name}: {error}") from error

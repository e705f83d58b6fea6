"""One persona vector as one safetensors file: arrays as tensors, the rest as JSON in the header.

A file is written whole or not at all, and never a second time. Knows nothing of which files there are.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from vector_store.vector import CONDITIONS, FloatArray, PersonaVector, VectorHeader

METADATA_KEY = "persona_vector"
FORMAT = 1
HEADER_FIELDS = tuple(item.name for item in fields(VectorHeader))


class BadVectorFile(ValueError):
    """A file that is damaged, or is not a persona vector's; the message says which and why."""


class _Stored(msgspec.Struct):
    format: int
    tensors_sha256: str
    header: VectorHeader


def encode(vector: PersonaVector) -> bytes:
    """The file's bytes; equal for equal vectors."""
    tensors = _tensors(vector)
    stored = _Stored(
        FORMAT, tensors_digest(tensors), VectorHeader(**{name: getattr(vector, name) for name in HEADER_FIELDS})
    )
    return save(tensors, {METADATA_KEY: msgspec.json.encode(stored).decode()})


def content_id(vector: PersonaVector) -> str:
    """A name for the vector that nothing else has: trait, time and a digest of everything in it."""
    digest = hashlib.sha256(encode(vector)).hexdigest()[:8]
    stamp = "".join(c for c in vector.created if c.isalnum())[:15]
    return f"{vector.trait}-{stamp}-{digest}"


def read_header(path: Path) -> VectorHeader:
    """The header alone, without reading the arrays. BadVectorFile where there is none."""
    return _read_stored(path).header


def read_vector(path: Path) -> PersonaVector:
    """The whole vector; its arrays are read-only. BadVectorFile where the file is damaged or foreign."""
    stored = _read_stored(path)
    try:
        tensors = load(path.read_bytes())
        if tensors_digest(tensors) != stored.tensors_sha256:
            raise BadVectorFile(f"{path}: the arrays are not the ones that were written")
        return _build(stored.header, tensors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise error if isinstance(error, BadVectorFile) else BadVectorFile(f"{path}: {error}") from error


def write_once(path: Path, content: bytes) -> None:
    """Write a new file so that a reader, or a crash, sees all of it or nothing. FileExistsError where another content
    is already there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if path.read_bytes() == content:
            return
        raise FileExistsError(f"{path} is already there and holds something else")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def tensors_digest(tensors: Mapping[str, FloatArray]) -> str:
    """SHA-256 over names, shapes and bytes, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _tensors(vector: PersonaVector) -> dict[str, FloatArray]:
    tensors = {f"residual_norms.{span}": norms for span, norms in vector.residual_norms.items()}
    for span, means in vector.means.items():
        tensors.update({f"means.{span}.{condition}": array for condition, array in means.items()})
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _build(header: VectorHeader, tensors: Mapping[str, FloatArray]) -> PersonaVector:
    for array in tensors.values():
        array.flags.writeable = False
    spans: list[Any] = [name.removeprefix("residual_norms.") for name in tensors if name.startswith("residual_norms.")]
    return PersonaVector(
        **{name: getattr(header, name) for name in HEADER_FIELDS},
        means={span: {condition: tensors[f"means.{span}.{condition}"] for condition in CONDITIONS} for span in spans},
        residual_norms={span: tensors[f"residual_norms.{span}"] for span in spans},
    )


def _read_stored(path: Path) -> _Stored:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        if METADATA_KEY not in metadata:
            raise BadVectorFile(f"{path}: not a persona vector")
        version = msgspec.json.decode(metadata[METADATA_KEY], type=dict).get("format")
        if version != FORMAT:
            raise BadVectorFile(f"{path}: written in format {version}, this version reads format {FORMAT}")
        return msgspec.json.decode(metadata[METADATA_KEY], type=_Stored)
    except (OSError, SafetensorError, msgspec.MsgspecError) as error:
        raise BadVectorFile(f"{path}: {error}") from error


def _sync_folder(folder: Path) -> None:
    # Not every system lets a folder be opened; the file itself is already safe there.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

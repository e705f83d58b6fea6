"""The folders persona vectors are kept in: one is written, all are read.

    <folder>/<model>/<trait>/<id>.safetensors

Files are looked at anew at every call, so a running server sees what another process has just extracted; what was
read of a file is remembered until it changes. Safe from any thread.
"""

import dataclasses
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from vector_store.files import BadVectorFile, content_id, encode, read_header, read_vector, write_once
from vector_store.vector import PersonaVector, VectorHeader

logger = logging.getLogger(__name__)

SUFFIX = ".safetensors"
MAX_SLUG = 100  # characters; file systems take 255 bytes
KEPT_VECTORS = 64  # whole vectors kept in memory; 2.5 MB each for a 7B model

Read = TypeVar("Read", VectorHeader, PersonaVector)
Stamp = tuple[int, int]  # modification time in ns, size


def slug(name: str) -> str:
    """A folder's name for a model or trait: no separators, no leading dot, never empty.

    Two names may share a slug; that is harmless, since every file says whose it is.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("/", "--"))
    return plain.lstrip(".")[:MAX_SLUG] or "_"


class VectorStore:
    """Persona vectors on disk."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """The first of `folders` is written, all are read; one that does not exist is empty."""
        if not folders:
            raise ValueError("a vector store needs a folder")
        self._folders = tuple(folders)
        self._headers: dict[Path, tuple[Stamp, VectorHeader | None]] = {}
        self._vectors: dict[Path, tuple[Stamp, PersonaVector | None]] = {}
        self._lock = threading.Lock()

    def list(self, model_id: str | None = None) -> list[VectorHeader]:
        """All vectors, or one model's, newest first, without their arrays."""
        with self._lock:
            found = self._find("*" if model_id is None else slug(model_id), "*")
            headers = {header.id: header for _, header in found if model_id in (None, header.model_id)}
        return sorted(headers.values(), key=_age, reverse=True)

    def latest(self, model_id: str, trait: str, fingerprint: str | None = None) -> PersonaVector | None:
        """The newest vector of this trait for this model, and for these weights where `fingerprint` names them; None
        where there is none."""
        with self._lock:
            found = [
                (path, header)
                for path, header in self._find(slug(model_id), slug(trait))
                if (header.model_id, header.trait) == (model_id, trait) and fingerprint in (None, header.fingerprint)
            ]
            for path, _ in sorted(found, key=lambda item: _age(item[1]), reverse=True):
                vector = self._read(path, self._vectors, read_vector)
                if vector is not None:
                    return vector
        return None

    def prepare(self) -> None:
        """Make the folder that is written. OSError where that is impossible or nothing can be written there."""
        self._folders[0].mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folders[0]):
            pass

    def save(self, vector: PersonaVector) -> str:
        """Write a vector as a new version and return its id. FileExistsError where its id belongs to another one."""
        identified = vector if vector.id else dataclasses.replace(vector, id=content_id(vector))
        folder = self._folders[0] / slug(vector.model_id) / slug(vector.trait)
        write_once(folder / f"{slug(identified.id)}{SUFFIX}", encode(identified))
        return identified.id

    def _find(self, model: str, trait: str) -> Iterator[tuple[Path, VectorHeader]]:
        for folder in self._folders:
            for path in sorted(folder.glob(f"{model}/{trait}/[!.]*{SUFFIX}")):
                header = self._read(path, self._headers, read_header)
                if header is not None:
                    yield path, header

    def _read(
        self, path: Path, cache: dict[Path, tuple[Stamp, Read | None]], read: Callable[[Path], Read]
    ) -> Read | None:
        try:
            status = os.stat(path)
            stamp = (status.st_mtime_ns, status.st_size)
            if path not in cache or cache[path][0] != stamp:
                cache.pop(path, None)
                content = read(path)
                _check_place(path, content)
                cache[path] = (stamp, content)
        except FileNotFoundError:
            cache.pop(path, None)
            return None
        except BadVectorFile as error:
            logger.warning("skipped a vector file: %s", error)
            cache[path] = (stamp, None)
        while len(self._vectors) > KEPT_VECTORS:
            del self._vectors[next(iter(self._vectors))]
        return cache[path][1]


def _check_place(path: Path, header: VectorHeader) -> None:
    expected = (slug(header.model_id), slug(header.trait), slug(header.id) + SUFFIX)
    if path.parts[-3:] != expected:
        raise BadVectorFile(f"{path}: its header says it belongs at {'/'.join(expected)}")


def _age(header: VectorHeader) -> tuple[str, str]:
    return header.created, header.id

"""The places persona vectors are kept in: one is written, all are read.

    <place>/<model>/<trait>/<id>.safetensors

A place is a folder or a URL that fsspec knows. It is looked at anew at every call, so a running server sees what
another process has just written or deleted; what was read of a file is remembered until it changes. Safe from any
thread.
"""

import dataclasses
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vector_store.errors import BadVectorFile, ReadOnlyVectors, StoreUnreachable, VectorExists, VectorNotFound
from vector_store.files import content_id, decode, decode_header, encode, same
from vector_store.locations import SUFFIX, Entry, LocalFolder, Location
from vector_store.remote import RemoteFolder
from vector_store.vector import PersonaVector, VectorHeader

logger = logging.getLogger(__name__)

MAX_SLUG = 100  # characters; file systems take 255 bytes
KEPT_VECTORS = 64  # whole vectors kept in memory; 2.5 MB each for a 7B model

Read = TypeVar("Read", VectorHeader, PersonaVector)
Key = tuple[Location, str]  # a file: its place and its path there
Found = tuple[Location, Entry, VectorHeader]


def slug(name: str) -> str:
    """A folder's name for a model or trait: no separators, no leading dot, never empty.

    Two names may share a slug; that is harmless, since every file says whose it is.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("/", "--"))
    return plain.lstrip(".")[:MAX_SLUG] or "_"


def place_of(where: Path | str) -> Location:
    """The place a folder's path or a URL means. StoreUnreachable for a URL nothing here can open."""
    if isinstance(where, str) and "://" in where:
        url = urlsplit(where)
        return LocalFolder(Path(url2pathname(url.path))) if url.scheme in ("file", "local") else RemoteFolder(where)
    return LocalFolder(Path(where))


class VectorStore:
    """Persona vectors, wherever they are kept. Every method may raise StoreUnreachable."""

    def __init__(self, places: Sequence[Path | str]) -> None:
        """Folders or URLs: the first of them is written, all are read; one that does not exist is empty."""
        if not places:
            raise ValueError("a vector store needs a place")
        self.places = tuple(place_of(where) for where in places)
        self._headers: dict[Key, tuple[Entry, VectorHeader | None]] = {}
        self._vectors: dict[Key, tuple[Entry, PersonaVector | None]] = {}
        self._lock = threading.Lock()

    def list(self, model_id: str | None = None, trait: str | None = None) -> list[VectorHeader]:
        """All vectors, one model's or one trait's, newest first, without their arrays."""
        with self._lock:
            headers = {header.id: header for _, _, header in self._find(model_id, trait)}
        return sorted(headers.values(), key=_age, reverse=True)

    def latest(self, model_id: str, trait: str, fingerprint: str | None = None) -> PersonaVector | None:
        """The newest vector of this trait for this model, and for these weights where `fingerprint` names them; None
        where there is none."""
        with self._lock:
            found = [item for item in self._find(model_id, trait) if fingerprint in (None, item[2].fingerprint)]
            vectors = (self._vector(*item[:2]) for item in sorted(found, key=lambda item: _age(item[2]), reverse=True))
            return next((vector for vector in vectors if vector is not None), None)

    def get(self, vector_id: str) -> PersonaVector:
        """One version. VectorNotFound where there is none of this id, or it is damaged."""
        with self._lock:
            for place in self.places:
                for entry in place.entries():
                    if entry.file == slug(vector_id) + SUFFIX:
                        vector = self._vector(place, entry)
                        if vector is not None and vector.id == vector_id:
                            return vector
        raise VectorNotFound(f"there is no vector {vector_id!r}")

    def prepare(self) -> None:
        """Make the place that is written. StoreUnreachable where that is impossible or nothing can be written there."""
        self.places[0].prepare()

    def save(self, vector: PersonaVector) -> str:
        """Write a vector as a new version and return its id. VectorExists where its id belongs to another one."""
        if not vector.id:
            vector = dataclasses.replace(vector, id=content_id(vector))
        model, trait, file = _place_in(vector)
        try:
            self.places[0].write_once(model, trait, file, encode(vector))
        except FileExistsError:
            entry = next(item for item in self.places[0].entries(model, trait) if item.file == file)
            try:
                if same(decode(self.places[0].read(entry), entry.path), vector):
                    return vector.id
            except BadVectorFile as error:
                raise VectorExists(f"{error}; delete it first") from error
            raise VectorExists(f"the id {vector.id!r} is already another vector's") from None
        return vector.id

    def delete(self, model_id: str, trait: str, vector_id: str | None = None) -> tuple[str, ...]:
        """Delete one version, a damaged one too, or without `vector_id` all of the trait's that may be deleted; the
        ids of those that are gone now. VectorNotFound, or ReadOnlyVectors where they are not in the place that is
        written."""
        wanted = None if vector_id is None else slug(vector_id) + SUFFIX
        with self._lock:
            deleted = []
            for entry in self.places[0].entries(slug(model_id), slug(trait)):
                header = self._header(self.places[0], entry)
                own = header is not None and (header.model_id, header.trait) == (model_id, trait)
                if (own or (header is None and wanted)) and wanted in (None, entry.file):
                    self.places[0].delete(entry)
                    deleted.append(header.id if header else entry.file.removesuffix(SUFFIX))
            left = [header for _, _, header in self._find(model_id, trait) if vector_id in (None, header.id)]
        if not deleted and left:
            raise ReadOnlyVectors(f"{left[0].id!r} came with the package and can't be deleted")
        if not deleted:
            raise VectorNotFound(f"there is no vector {vector_id or trait!r} of {trait!r} for {model_id!r}")
        return tuple(deleted)

    def _find(self, model_id: str | None = None, trait: str | None = None) -> Iterator[Found]:
        everything = model_id is None and trait is None
        seen: set[Key] = set()
        for place in self.places:
            for entry in place.entries(model_id and slug(model_id), trait and slug(trait)):
                seen.add((place, entry.path))
                header = self._header(place, entry)
                if header is not None and model_id in (None, header.model_id) and trait in (None, header.trait):
                    yield place, entry, header
        if everything:
            for gone in self._headers.keys() - seen:
                del self._headers[gone]

    def _header(self, place: Location, entry: Entry) -> VectorHeader | None:
        def read() -> VectorHeader:
            return decode_header(lambda start, end: place.read(entry, start, end), entry.size, _full(place, entry))

        return self._read(place, entry, self._headers, read)

    def _vector(self, place: Location, entry: Entry) -> PersonaVector | None:
        vector = self._read(place, entry, self._vectors, lambda: decode(place.read(entry), _full(place, entry)))
        while len(self._vectors) > KEPT_VECTORS:
            del self._vectors[next(iter(self._vectors))]
        return vector

    def _read(
        self, place: Location, entry: Entry, cache: dict[Key, tuple[Entry, Read | None]], read: Callable[[], Read]
    ) -> Read | None:
        key = place, entry.path
        if key in cache and cache[key][0] == entry:
            return cache[key][1]
        cache.pop(key, None)
        try:
            content = read()
            _check_place(entry, content, _full(place, entry))
        except FileNotFoundError:  # deleted since it was listed
            return None
        except StoreUnreachable:
            raise
        except (BadVectorFile, OSError) as error:
            logger.warning("skipped a vector file: %s", error)
            cache[key] = entry, None
            return None
        cache[key] = entry, content
        return content


def _place_in(header: VectorHeader) -> tuple[str, str, str]:
    return slug(header.model_id), slug(header.trait), slug(header.id) + SUFFIX


def _full(place: Location, entry: Entry) -> str:
    return f"{place.name}/{entry.path}"


def _check_place(entry: Entry, header: VectorHeader, name: str) -> None:
    expected = "/".join(_place_in(header))
    if entry.path != expected:
        raise BadVectorFile(f"{name}: its header says it belongs at {expected}")


def _age(header: VectorHeader) -> tuple[str, str]:
    return header.created, header.id

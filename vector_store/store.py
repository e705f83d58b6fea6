"""The places persona vectors are kept in: one is written, all are read.

    <place>/<model>/<trait>/<id>.safetensors
    <place>/.in_use/<weights>/<trait>.json      which version was asked for, where one was

A place is a folder or a URL that fsspec knows. It is looked at anew at every call, so a running server sees what
another process has just written or deleted; what was read of a file is remembered until it changes. Vectors are of
weights, not of the name a model is served by: those that lie under another id are found by the fingerprint of the
weights, and which other ids there are is looked at every few seconds. Safe from any thread.
"""

import dataclasses
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec

from vector_store.choice import STEP, Standing, age, choose, made_at, standing
from vector_store.errors import BadVectorFile, ReadOnlyVectors, StoreUnreachable, VectorExists, VectorNotFound
from vector_store.files import content_id, decode, decode_header, encode, header_of, same
from vector_store.locations import SUFFIX, Entry, LocalFolder, Location
from vector_store.remote import RemoteFolder
from vector_store.vector import Origin, PersonaVector, VectorHeader

logger = logging.getLogger(__name__)

MAX_SLUG = 100  # characters; file systems take 255 bytes
KEPT_VECTORS = 64  # whole vectors kept in memory; 2.5 MB each for a 7B model
KEPT_BYTES = 256 * 1024 * 1024  # of their files, unless one alone has more
HOMES_FRESH_S = 5.0  # how long it is good to know which models' folders hold vectors of the same weights

Read = TypeVar("Read", VectorHeader, PersonaVector)
Key = tuple[Location, str]  # a file: its place and its path there
Found = tuple[Location, Entry, VectorHeader]
Finds = list[Found]
Headers = list[VectorHeader]


class _AskedFor(msgspec.Struct):
    """The note that says which version is to be in use."""

    fingerprint: str
    trait: str
    id: str


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
        self._homes: tuple[float, dict[str, set[str]]] | None = None  # model ids by fingerprint, and since when
        self._lock = threading.Lock()

    def list(self, model_id: str | None = None, trait: str | None = None) -> Headers:
        """All vectors, one model's or one trait's, newest first, without their arrays."""
        with self._lock:
            return _newest_first(header for _, _, header in self._find(model_id, trait))

    def versions(self, model_id: str, trait: str, fingerprint: str | None = None) -> Headers:
        """The versions of a trait's vector for a model, newest first: those under its id, of whatever weights, and,
        where `fingerprint` names its weights, those of the same weights under other ids."""
        with self._lock:
            return _newest_first(header for _, _, header in self._of_model(model_id, fingerprint, trait))

    def in_use(
        self, model_id: str, trait: str, fingerprint: str | None = None, *, origin: Origin | None = None
    ) -> PersonaVector | None:
        """The version that a model is steered by, the one that somebody chose or else the newest that is not rougher;
        None where there is none for its weights. Without `fingerprint` nobody knows the weights, and those of its id's
        newest placed version count. With `origin` it is the one that would be in use if there were no others than of
        this origin."""
        with self._lock:
            found = [item for item in self._of_model(model_id, fingerprint, trait) if origin in (None, item[2].origin)]
            while (chosen := self._chosen([item[2] for item in found], fingerprint)) is not None:
                place, entry, header = next(item for item in found if item[2].id == chosen.id)
                vector = self._vector(place, entry)
                if vector is not None:
                    return vector
                found.remove((place, entry, header))  # only its header was whole
            return None

    def all_in_use(self, model_id: str, fingerprint: str | None = None) -> dict[str, VectorHeader]:
        """By trait, the version that a model is steered by; as `in_use`, without looking at the arrays."""
        with self._lock:
            by_trait: dict[str, Headers] = {}
            for _, _, header in self._of_model(model_id, fingerprint):
                by_trait.setdefault(header.trait, []).append(header)
            chosen = {trait: self._chosen(headers, fingerprint) for trait, headers in by_trait.items()}
            return {trait: header for trait, header in chosen.items() if header is not None}

    def standings(self, trait: str | None = None) -> dict[str, Standing]:
        """By id, whether each version, of all traits or one, is in use, why, and how to change it."""
        with self._lock:
            groups: dict[tuple[str, str], dict[str, VectorHeader]] = {}
            for _, _, header in self._find(None, trait):
                groups.setdefault((header.fingerprint, header.trait), {})[header.id] = header
            found: dict[str, Standing] = {}
            for (fingerprint, of), versions in groups.items():
                asked_for = self._asked_for(fingerprint, of)
                headers = list(versions.values())
                found |= {id_: standing(header, headers, asked_for) for id_, header in versions.items()}
            return found

    def standing(self, vector_id: str) -> Standing:
        """Of one version. VectorNotFound."""
        return self.standings(self.get(vector_id).trait)[vector_id]

    def use(self, vector_id: str) -> str | None:
        """Put a version to use for its weights until another is asked for, in every process that has this place; the id
        of the version that was in use before. VectorNotFound, and ValueError for one that can't be used: its weights
        are unknown, or where it steers."""
        header = header_of(self.get(vector_id))
        if not (header.fingerprint and header.poles):
            raise ValueError(f"the vector {vector_id!r} can't be used before it is measured")
        with self._lock:
            found = {each.id: each for _, _, each in self._find(None, header.trait)}
            before = self._chosen(list(found.values()), header.fingerprint)
        note = msgspec.json.encode(_AskedFor(header.fingerprint, header.trait, header.id))
        self.places[0].write_note(_note_path(header.fingerprint, header.trait), note)
        return before.id if before else None

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
        """Write a vector as a new version and return its id. VectorExists where its id belongs to another one.

        A new version is later than all that are there of its trait and its model or weights: where the clock is
        behind, `created` is moved past theirs. What is there already, if with such a later time, is not saved twice.
        """
        if not vector.id:
            vector = self._dated(vector)
            vector = dataclasses.replace(vector, id=vector.id or content_id(vector))
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
        self._homes = None
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
        """The files there are now of all models or one id, all traits or one."""
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

    def _of_model(self, model_id: str, fingerprint: str | None, trait: str | None = None) -> Finds:
        """The versions of its id, and of its weights under other ids."""
        found = list(self._find(model_id, trait))
        for other in sorted(self._ids_of(fingerprint) - {model_id}) if fingerprint else ():
            found += [item for item in self._find(other, trait) if item[2].fingerprint == fingerprint]
        return found

    def _ids_of(self, fingerprint: str) -> set[str]:
        if self._homes is None or time.monotonic() - self._homes[0] > HOMES_FRESH_S:
            homes: dict[str, set[str]] = {}
            for _, _, header in self._find():
                homes.setdefault(header.fingerprint, set()).add(header.model_id)
            self._homes = time.monotonic(), homes
        return self._homes[1].get(fingerprint, set())

    def _chosen(self, headers: Sequence[VectorHeader], fingerprint: str | None) -> VectorHeader | None:
        """The one in use of one trait's versions, of these weights, or of those of the newest placed one."""
        if fingerprint is None:
            newest = max(headers, key=lambda header: (bool(header.poles), age(header)), default=None)
            fingerprint = newest.fingerprint if newest else ""
        headers = [header for header in headers if header.fingerprint == fingerprint]
        if len(headers) < 2:
            return next(iter(headers), None)
        return choose(headers, self._asked_for(fingerprint, headers[0].trait))

    def _asked_for(self, fingerprint: str, trait: str) -> str | None:
        """The id of the version that was asked for, in the first place that says so."""
        for place in self.places:
            content = place.read_note(_note_path(fingerprint, trait))
            if content is not None:
                try:
                    note = msgspec.json.decode(content, type=_AskedFor)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    logger.warning("%s/%s is damaged: %s", place.name, _note_path(fingerprint, trait), error)
                    continue
                if (note.fingerprint, note.trait) == (fingerprint, trait):
                    return note.id
        return None

    def _dated(self, vector: PersonaVector) -> PersonaVector:
        """The vector, later than all of its kind; with the id it was saved under, where it was."""
        with self._lock:
            siblings = [
                item
                for item in self._find(None, vector.trait)
                if item[2].model_id == vector.model_id or item[2].fingerprint == vector.fingerprint != ""
            ]
            for place, entry, header in siblings:
                moved = dataclasses.replace(vector, id=header.id, created=header.created)
                if made_at(header) >= made_at(vector) and header_of(moved) == header:
                    known = self._vector(place, entry)
                    if known is not None and same(known, moved):
                        return moved
        last = max((made_at(header) for _, _, header in siblings), default=None)
        if last is None or made_at(vector) > last:
            return vector
        return dataclasses.replace(vector, created=(last + STEP).isoformat(timespec="seconds"))

    def _header(self, place: Location, entry: Entry) -> VectorHeader | None:
        def read() -> VectorHeader:
            return decode_header(lambda start, end: place.read(entry, start, end), entry.size, _full(place, entry))

        return self._read(place, entry, self._headers, read)

    def _vector(self, place: Location, entry: Entry) -> PersonaVector | None:
        vector = self._read(place, entry, self._vectors, lambda: decode(place.read(entry), _full(place, entry)))
        while len(self._vectors) > KEPT_VECTORS or (len(self._vectors) > 1 and self._kept_bytes() > KEPT_BYTES):
            del self._vectors[next(iter(self._vectors))]
        return vector

    def _kept_bytes(self) -> int:
        return sum(entry.size for entry, _ in self._vectors.values())

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


def _note_path(fingerprint: str, trait: str) -> str:
    return f".in_use/{slug(fingerprint)}/{slug(trait)}.json"


def _newest_first(headers: Iterable[VectorHeader]) -> Headers:
    """Each id once."""
    return sorted({header.id: header for header in headers}.values(), key=age, reverse=True)

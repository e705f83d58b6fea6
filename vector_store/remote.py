"""A place that fsspec knows by URL: S3, a hub repository, a web server, memory.

What is listed is remembered for a few seconds, since every request for a persona asks, and forgotten when this process
changes something. New files are created exclusively, where the file system can do that in one step; where it can't,
nothing is lost either, since no two vectors have the same name. Knows nothing of what is in the files.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec

from vector_store.errors import StoreUnreachable
from vector_store.locations import MAX_NOTE, SUFFIX, Entry

logger = logging.getLogger(__name__)

FRESH_S = 5.0  # how long a listing, or a note, is good for
KEPT_NOTES = 1024
_STAMPS = ("ETag", "etag", "last_modified", "LastModified", "mtime", "updated", "created", "blob_id", "md5Hash")


class RemoteFolder:
    """A folder at a URL; one that does not exist yet is empty. StoreUnreachable for a URL nothing here can open."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._listing: tuple[float, list[Entry]] | None = None
        self._notes: dict[str, tuple[float, bytes | None]] = {}
        try:
            self._system, self._root = fsspec.core.url_to_fs(url.rstrip("/"))
        except (ValueError, ImportError, OSError) as error:
            raise StoreUnreachable(f"{url}: {error}") from error

    def entries(self, model: str | None = None, trait: str | None = None) -> list[Entry]:
        if self._listing is None or time.monotonic() - self._listing[0] > FRESH_S:
            self._listing = (time.monotonic(), self._list())
        return [entry for entry in self._listing[1] if model in (None, entry.model) and trait in (None, entry.trait)]

    def read(self, entry: Entry, start: int = 0, end: int | None = None) -> bytes:
        with self._reached():
            content: bytes = self._system.cat_file(f"{self._root}/{entry.path}", start=start, end=end)
            return content

    def write_once(self, model: str, trait: str, file: str, content: bytes) -> None:
        folder = f"{self._root}/{model}/{trait}"
        with self._reached():
            self._system.makedirs(folder, exist_ok=True)
            self._system.pipe_file(f"{folder}/{file}", content, mode="create")
        self._listing = None

    def read_note(self, path: str) -> bytes | None:
        known = self._notes.get(path)
        if known is None or time.monotonic() - known[0] > FRESH_S:
            known = (time.monotonic(), self._note(path))
            while len(self._notes) >= KEPT_NOTES:
                del self._notes[next(iter(self._notes))]
            self._notes[path] = known
        return known[1]

    def write_note(self, path: str, content: bytes) -> None:
        with self._reached():
            self._system.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(f"{self._root}/{path}", content)
        self._notes.pop(path, None)

    def delete(self, entry: Entry) -> None:
        try:
            with self._reached():
                self._system.rm_file(f"{self._root}/{entry.path}")
        except FileNotFoundError:
            pass
        self._listing = None

    def prepare(self) -> None:
        with self._reached():
            self._system.makedirs(self._root, exist_ok=True)

    def _note(self, path: str) -> bytes | None:
        try:
            with self._reached():
                content: bytes = self._system.cat_file(f"{self._root}/{path}", end=MAX_NOTE)
                return content
        except FileNotFoundError:
            return None
        except StoreUnreachable as error:
            if path not in self._notes:
                raise
            logger.warning("%s; %s is as it was the last time", error, path)
            return self._notes[path][1]

    def _list(self) -> list[Entry]:
        try:
            with self._reached():
                self._system.invalidate_cache()
                found = self._system.find(self._root, maxdepth=3, detail=True)
        except FileNotFoundError:
            return []
        except StoreUnreachable as error:
            if self._listing is None:
                raise
            logger.warning("%s; its vectors are those of the last time", error)
            return self._listing[1]
        entries = []
        for path, info in sorted(found.items()):
            parts = path.removeprefix(self._root).strip("/").split("/")
            if len(parts) == 3 and parts[2].endswith(SUFFIX) and not any(part.startswith(".") for part in parts):
                stamp = "/".join(str(info[name]) for name in _STAMPS if name in info)
                entries.append(Entry(parts[0], parts[1], parts[2], info.get("size") or 0, stamp))
        return entries

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever a file system raises becomes StoreUnreachable, but for files that are, or are not, there."""
        try:
            yield
        except (FileExistsError, FileNotFoundError):
            raise
        except Exception as error:  # each file system has errors of its own
            raise StoreUnreachable(f"{self.name}: {str(error) or type(error).__name__}") from error

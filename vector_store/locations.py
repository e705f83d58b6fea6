"""A folder of this machine, or one shared with others, that vector files lie in.

A file is there whole or not at all, and a vector's is never written a second time: it is written under another name,
flushed to the disk and then linked to its own name, which fails where that is taken. Small notes beside the vectors may
be written over. Links that lead elsewhere are neither followed nor written through. Knows nothing of what is in the
files.
"""

import contextlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from vector_store.errors import StoreUnreachable
from vector_store.whole import write_new, write_over

logger = logging.getLogger(__name__)

SUFFIX = ".safetensors"
MAX_NOTE = 4096  # bytes
ABANDONED_S = 24 * 3600  # a temporary file that is older has no writer any more


class Entry(NamedTuple):
    """A file of a place. `stamp` changes when the file does."""

    model: str  # names of folders, not ids
    trait: str
    file: str
    size: int
    stamp: str

    @property
    def path(self) -> str:
        return f"{self.model}/{self.trait}/{self.file}"


class Location(Protocol):
    """Where vector files lie, as <model>/<trait>/<file>. Every name that comes in is one plain part of a path; a note's
    path is plain parts, of which the first begins with a dot, so that it is no model's folder."""

    @property
    def name(self) -> str:
        """What an operator calls it."""

    def entries(self, model: str | None = None, trait: str | None = None) -> list[Entry]:
        """The files that are there now, of all models and traits or one. StoreUnreachable."""

    def read(self, entry: Entry, start: int = 0, end: int | None = None) -> bytes:
        """A file's bytes. FileNotFoundError where it is gone, OSError where it can't be read."""

    def write_once(self, model: str, trait: str, file: str, content: bytes) -> None:
        """Write a new file. FileExistsError where one has that name, StoreUnreachable."""

    def read_note(self, path: str) -> bytes | None:
        """The first bytes, up to MAX_NOTE, of a small file beside the vectors, None where there is none.
        StoreUnreachable."""

    def write_note(self, path: str, content: bytes) -> None:
        """Write a small file, in place of what was there. StoreUnreachable."""

    def delete(self, entry: Entry) -> None:
        """Take a file away, if it is still there. StoreUnreachable."""

    def prepare(self) -> None:
        """Make it ready to be written. StoreUnreachable where that is impossible."""


class LocalFolder:
    """A folder; one that does not exist yet is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned: set[str] = set()

    @property
    def name(self) -> str:
        return str(self.path)

    def entries(self, model: str | None = None, trait: str | None = None) -> list[Entry]:
        found: list[Entry] = []
        for model_folder in self._folders(self.path, model):
            for trait_folder in self._folders(Path(model_folder.path), trait):
                for file in self._scan(Path(trait_folder.path)):
                    if file.name.endswith(SUFFIX) and not file.name.startswith("."):
                        found += self._entry(model_folder.name, trait_folder.name, file)
        return found

    def read(self, entry: Entry, start: int = 0, end: int | None = None) -> bytes:
        with (self.path / entry.path).open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(end - start)

    def write_once(self, model: str, trait: str, file: str, content: bytes) -> None:
        self._write(f"{model}/{trait}/{file}", content, write_new)

    def read_note(self, path: str) -> bytes | None:
        try:
            with (self.path / path).open("rb") as file:
                return file.read(MAX_NOTE)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreachable(error) from error

    def write_note(self, path: str, content: bytes) -> None:
        self._write(path, content, write_over)

    def delete(self, entry: Entry) -> None:
        path = self.path / entry.path
        try:
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise _unreachable(error) from error

    def prepare(self) -> None:
        """Also takes away what writers that were killed left behind."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            for abandoned in self.path.glob(f"*/*/.*{SUFFIX}.*.tmp"):
                if time.time() - abandoned.lstat().st_mtime > ABANDONED_S:
                    abandoned.unlink(missing_ok=True)
        except OSError as error:
            raise _unreachable(error) from error

    def _write(self, path: str, content: bytes, write: Callable[[Path, bytes], None]) -> None:
        inside = Path(path).parent
        folder = self.path / inside
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder.resolve() != self.path.resolve() / inside:
                raise StoreUnreachable(f"{folder} is a link that leads elsewhere; vectors are not written through it")
            write(self.path / path, content)
            for changed in (folder, *folder.parents[:2]):
                _sync_folder(changed)
        except FileExistsError:
            raise
        except OSError as error:
            raise error if isinstance(error, StoreUnreachable) else _unreachable(error) from error

    def _folders(self, parent: Path, only: str | None) -> Iterator["os.DirEntry[str]"]:
        for entry in self._scan(parent):
            if only in (None, entry.name) and not entry.name.startswith("."):
                if entry.is_dir(follow_symlinks=False):
                    yield entry
                elif entry.is_symlink():
                    self._warn(entry.path)

    def _entry(self, model: str, trait: str, file: "os.DirEntry[str]") -> Iterator[Entry]:
        try:
            status = file.stat(follow_symlinks=False)
        except FileNotFoundError:  # deleted since the folder was read
            return
        if stat.S_ISREG(status.st_mode):
            # The time of the last change of rights counts too: an unreadable file may have become readable.
            stamp = f"{status.st_ino}/{status.st_mtime_ns}/{status.st_ctime_ns}"
            yield Entry(model, trait, file.name, status.st_size, stamp)
        else:
            self._warn(file.path)

    def _scan(self, folder: Path) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreachable(error) from error

    def _warn(self, path: str) -> None:
        if path not in self._warned:
            self._warned.add(path)
            logger.warning("skipped %s: a link or no ordinary file", path)


def _unreachable(error: OSError) -> StoreUnreachable:
    """The system's error as one of the store, with the path first."""
    known = error.filename is not None and error.strerror is not None
    return StoreUnreachable(f"{error.filename}: {error.strerror}" if known else str(error))


def _sync_folder(folder: Path) -> None:
    # Not every system lets a folder be opened; the file itself is already safe there.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

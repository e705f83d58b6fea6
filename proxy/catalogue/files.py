"""What every way to get a large file needs: its checksum, room for it, and sizes in words."""

import errno
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from proxy.errors import ProxyError, SetupError

READ_BYTES = 16 * 1024 * 1024


class NoPlace(SetupError):
    """The file can't be kept, from wherever it comes: the disk is full, or its folder can't be made."""


class WrongChecksum(ProxyError):
    """What came is not the file that was meant."""


def sha256_of(path: Path) -> str:
    """The checksum of a file, with a bar while it is read."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as stream, tqdm(desc="checksum", total=size, unit="B", unit_scale=True, leave=False) as bar:
        while piece := stream.read(READ_BYTES):
            digest.update(piece)
            bar.update(len(piece))
    return digest.hexdigest()


def settle(part: Path, target: Path, sha256: str) -> None:
    """Give a whole file its name. WrongChecksum for one with another content, which is deleted."""
    if sha256_of(part) != sha256:
        part.unlink()
        raise WrongChecksum(f"{target.name}: the checksum of what came is wrong; it was deleted, try again")
    part.replace(target)


def make_folder(folder: Path) -> None:
    """Make a folder that downloads go to. NoPlace where that can't be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoPlace(f"{folder}: the folder can't be made: {error.strerror}") from None


def check_room(folder: Path, needed: int) -> None:
    """NoPlace where fewer than `needed` bytes are free."""
    room = shutil.disk_usage(folder).free
    if needed > room:
        raise NoPlace(f"{folder}: {in_words(needed)} are to come, and there is room for {in_words(room)}")


@contextmanager
def noticing_a_full_disk(folder: Path) -> Iterator[None]:
    """NoPlace where something else fills the disk meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoPlace(f"{folder}: the disk is full; make room, and the same command goes on") from None


def in_words(size: int) -> str:
    """A number of bytes in GB, or in MB where it is small."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"

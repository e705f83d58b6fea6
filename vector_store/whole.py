"""Files that are there whole or not at all, whoever is killed while writing: written beside their place under a name
that nobody reads, flushed to the disk, and then given their own. The folder has to be there. Raises OSError.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_new(path: Path, content: bytes) -> None:
    """FileExistsError where there is such a file: of several that write it at once, one does."""
    with _beside(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: the best that is left
            if path.exists():
                raise FileExistsError(f"{path} is already there") from None
            temporary.rename(path)


def write_over(path: Path, content: bytes) -> None:
    """In place of what was there."""
    with _beside(path, content) as temporary:
        temporary.replace(path)


@contextlib.contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """The content in a temporary file, which is gone at the end unless it was renamed."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

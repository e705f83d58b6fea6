"""Gets the script of the page at /schema from the npm package it is in, and checks it: python -m proxy.ui.schema.fetch

With --check it only says whether the files here are those of that package. Needs npm and its registry.
"""

import argparse
import base64
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "rapidoc@9.3.8"
INTEGRITY = "eCYEbr1Xr8OJZvVCw8SXl9zBCRoLJbhNGuG5IZTHq/RWAOq/O4MafUCuFEyZHsrhLrlUcGZMa64pyhpib8fQKQ=="  # SHA-512
FOLDER = Path(__file__).parent
# What is kept, and what it is in the package: the script, and the licences of it and of what is in it.
FILES = {
    "rapidoc-min.js.gz": "package/dist/rapidoc-min.js",
    "LICENSE.txt": "package/LICENSE.txt",
    "rapidoc-min.js.LICENSE.txt": "package/dist/rapidoc-min.js.LICENSE.txt",
}


def files_of(archive: bytes) -> dict[str, bytes]:
    """The files to keep, by name. ValueError where the archive is not the one that is pinned."""
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"{PACKAGE}: its checksum is {found}, not {INTEGRITY}")
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        contents = {name: _content(tar, path) for name, path in FILES.items()}
    # The same bytes wherever and whenever it is packed.
    return {
        name: gzip.compress(content, 9, mtime=0) if name.endswith(".gz") else content
        for name, content in contents.items()
    }


def _content(tar: tarfile.TarFile, path: str) -> bytes:
    file = tar.extractfile(path)
    if file is None:
        raise ValueError(f"{PACKAGE}: {path} is no file")
    return file.read()


def download() -> bytes:
    """The package's archive, by npm."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, PACKAGE], check=True)
        [archive] = Path(folder).glob("*.tgz")
        return archive.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 where a file differs")
    check = parser.parse_args().check
    differing = []
    for name, content in files_of(download()).items():
        path = FOLDER / name
        # Compressed bytes may differ between versions of zlib; what is in them may not.
        if not path.exists() or _plain(path.read_bytes()) != _plain(content):
            differing.append(name)
            if not check:
                path.write_bytes(content)
    print("\n".join(f"{name}: {'differs' if check else 'written'}" for name in differing) or "all as in the package")
    return 1 if check and differing else 0


def _plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


if __name__ == "__main__":
    sys.exit(main())

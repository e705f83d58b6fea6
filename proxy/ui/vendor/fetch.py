"""Gets the libraries of the page at / from their npm packages, and checks them: python -m proxy.ui.vendor.fetch

With --check it only says whether the files here are those of the packages. Needs npm and its registry. Browsers load
them as they are, so two things are changed: a bare import becomes the file's name, and uPlot, which is a script,
becomes a module.
"""

import argparse
import base64
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Package:
    """`integrity` is the archive's SHA-512, as npm tells it. `files`: what is kept, and what it is in the archive."""

    name: str
    integrity: str
    files: dict[str, str]


PACKAGES = [
    Package(
        "preact@11.2.0",
        "/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==",
        {
            "preact.js": "package/dist/preact.mjs",
            "hooks.js": "package/hooks/dist/hooks.mjs",
            "preact.LICENSE.txt": "package/LICENSE",
        },
    ),
    Package(
        "@preact/signals@2.11.4",
        "Rb+5RPo9gWSaHtzJeauhHxiC8KP/IF2DEPkHPEOGOnuy2wnJzRqyeLRankUCYd6ADqtxS6GnWGv6Ie343d8aYw==",
        {"signals.js": "package/dist/signals.mjs", "signals.LICENSE.txt": "package/LICENSE"},
    ),
    Package(
        "@preact/signals-core@1.14.5",
        "vcRv7Ityz5JVmeiVqIluLFzT/PDS/AlhHUpw3/aUWqcVUs6bDGIPXE/6RSC4evBNWYvnniozg5Syfj33al3gkg==",
        {"signals-core.js": "package/dist/signals-core.mjs", "signals-core.LICENSE.txt": "package/LICENSE"},
    ),
    Package(
        "htm@3.1.1",
        "983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==",
        {"htm.js": "package/dist/htm.mjs", "htm.LICENSE.txt": "package/LICENSE"},
    ),
    Package(
        "uplot@1.6.32",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {
            "uplot.js": "package/dist/uPlot.iife.min.js",
            "uplot.css": "package/dist/uPlot.min.css",
            "uplot.LICENSE.txt": "package/LICENSE",
        },
    ),
]
# What a module calls another by, and the file that this one is in here.
_IMPORTS = {
    "preact": "preact.js",
    "preact/hooks": "hooks.js",
    "@preact/signals-core": "signals-core.js",
}


def files_of(package: Package, archive: bytes) -> dict[str, bytes]:
    """The files to keep, by name. ValueError where the archive is not the one that is pinned."""
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != package.integrity:
        raise ValueError(f"{package.name}: its checksum is {found}, not {package.integrity}")
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {name: _as_module(name, _content(tar, package, path)) for name, path in package.files.items()}


def _content(tar: tarfile.TarFile, package: Package, path: str) -> bytes:
    file = tar.extractfile(path)
    if file is None:
        raise ValueError(f"{package.name}: {path} is no file")
    return file.read()


def _as_module(name: str, content: bytes) -> bytes:
    """A script as a browser can import it: imports by file name, no pointer to a source map that is not here."""
    if not name.endswith(".js"):
        return content
    text = re.sub(r"//# sourceMappingURL=\S+\n?", "", content.decode()).rstrip() + "\n"
    text = re.sub(r'(from|import)"([^".]+)"', lambda found: f'{found[1]}"./{_IMPORTS[found[2]]}"', text)
    return (text + ("export default uPlot;\n" if name == "uplot.js" else "")).encode()


def download(package: Package) -> bytes:
    """The package's archive, by npm."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, package.name], check=True)
        [archive] = Path(folder).glob("*.tgz")
        return archive.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 where a file differs")
    check = parser.parse_args().check
    differing = []
    for package in PACKAGES:
        for name, content in files_of(package, download(package)).items():
            path = FOLDER / name
            if not path.exists() or path.read_bytes() != content:
                differing.append(name)
                if not check:
                    path.write_bytes(content)
    print("\n".join(f"{name}: {'differs' if check else 'written'}" for name in differing) or "all as in the packages")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())

"""The page at /, and the modules, the styles and the icon it is made of.

A browser loads the modules as they lie here: nothing is built. They are served below an address that holds a hash of
all of them, so that browsers may keep them for good, and relative imports stay within one state of them. All addresses
in the page are relative: it works behind a path prefix. `app.js` says how a view is added. Knows nothing of models and
personas: the page asks the API for those, as any client.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from litestar import Request, Response, get
from litestar.response import Redirect

from proxy.errors import NotFound

FOLDER = Path(__file__).parent
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# Everything from this server, no inline script or style; no other site may frame the page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; object-src 'none'"
_HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_IMPORT = re.compile(r'^(?:import|export)\b[^;]*?"(\.[^"]+)";', re.MULTILINE)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Persona proxy</title>
<link rel="icon" href="{assets}/icon.svg" type="image/svg+xml">
{styles}
{preloads}
<script type="module" src="{assets}/app.js"></script>
</head>
<body data-view="{view}">
<div id="app">
<noscript>This page needs JavaScript. The API does not: <a href="schema">its reference</a>.</noscript>
</div>
</body>
</html>
"""


@dataclass(frozen=True)
class Assets:
    """`files` by path from this folder; `hash` is of all of them."""

    hash: str
    files: dict[str, bytes]


@cache
def assets() -> Assets:
    """The files browsers load, read once."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES)
    files = {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in paths}
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Assets(digest.hexdigest()[:16], files)


@cache
def page(view: str) -> bytes:
    """The page that opens a view where its address names none."""
    found = assets()
    modules = dict.fromkeys([*_closure("app.js"), *_closure(f"views/{view}.js")])
    styles = ["style.css", *(name for name in found.files if name.endswith(".css") and name != "style.css")]
    return _PAGE.format(
        assets=f"assets/{found.hash}",
        styles="\n".join(f'<link rel="stylesheet" href="assets/{found.hash}/{name}">' for name in styles),
        preloads="\n".join(f'<link rel="modulepreload" href="assets/{found.hash}/{name}">' for name in modules),
        view=view,
    ).encode()


def _closure(module: str) -> list[str]:
    """A module and all it imports, so that a browser need not find them one after another."""
    seen, waiting = [], [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.append(name)
        folder = PurePosixPath(name).parent
        for address in _IMPORT.findall(assets().files[name].decode()):
            waiting.append(_normal(folder / address))
    return seen


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


@get("/", include_in_schema=False)
async def get_page() -> Response[bytes]:
    """The page; Play is what it opens."""
    return _html("play")


@get("/visualization", include_in_schema=False)
async def get_visualization(request: Request[Any, Any, Any]) -> Response[Any]:
    """The same page, opening the thermostat curves."""
    if request.scope["raw_path"].endswith(b"/"):
        return Redirect("../visualization")  # relative addresses would miss
    return _html("thermostat")


def _html(view: str) -> Response[bytes]:
    headers = {**_HEADERS, "cache-control": "no-cache"}
    return Response(page(view), media_type="text/html", headers=headers)


@get("/assets/{digest:str}/{path:path}", include_in_schema=False)
async def get_asset(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A file of the page, compressed for whoever takes that, as browsers do."""
    digest, name = request.path_params["digest"], str(request.path_params["path"]).lstrip("/")
    if digest != assets().hash or name not in assets().files:
        raise NotFound("There is no such file: the page may be of another version; load it again.")
    headers = {**_HEADERS, "cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(_content(name, packed), media_type=TYPES[PurePosixPath(name).suffix], headers=headers)


@cache
def _content(name: str, packed: bool) -> bytes:
    content = assets().files[name]
    return gzip.compress(content, 9, mtime=0) if packed else content

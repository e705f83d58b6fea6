"""A hub and a package index of a few lines, and the command that is pointed at them."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

REPO, NAME = "org/tiny-GGUF", "tiny-q8.gguf"
# The hub's library writes ten megabytes at a time; what is cut off has to be longer.
CONTENT = os.urandom(1024) * 24 * 1024
# Runs the command line with one known model, `tiny`, and what else the test says of the catalogue.
KNOWING = """
import sys
from pathlib import Path
from proxy.catalogue import known
tiny = known.KnownModel(**{fields!r} | {{"wheels": tuple(known.WheelPart(*part) for part in {wheels!r})}})
known.KNOWN.clear()
known.KNOWN["tiny"] = tiny
known._MODELS = (tiny,)
from proxy.cli import main as cli
sys.exit(cli.main(sys.argv[1:]))
"""


class Hub:
    """Holds one file of this content. The first `cuts` transfers end after `cut_at` bytes; with `stall` they stay open
    instead. With `silent`, nothing is answered at all."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.cuts, self.cut_at, self.stall, self.silent = 0, 22 * 1024 * 1024, False, False
        self.starts: list[int] = []
        self.asked = 0
        self.released = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hub.asked += 1
                if hub.silent:
                    hub.released.wait(30)
                asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())["paths"]
                lfs = {"oid": hub.sha256, "size": len(content), "pointerSize": 134}
                entry = {"type": "file", "path": NAME, "size": len(content), "oid": "0" * 40, "lfs": lfs}
                known = self.path == f"/api/models/{REPO}/paths-info/main"
                self.reply([entry] * (asked == [NAME]) if known else None)

            def do_GET(self) -> None:
                if self.path == f"/{REPO}/resolve/main/{NAME}":
                    hub.transfer(self)
                elif self.path.startswith(f"/api/models/{REPO}/tree/main"):
                    self.reply([{"type": "file", "path": NAME, "size": 1, "oid": "0" * 40}])
                else:
                    self.reply(None)

            def reply(self, body: object) -> None:
                self.send_response(404 if body is None else 200)
                data = json.dumps({"error": "not here"} if body is None else body).encode()
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/json")
                if body is None:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                """Nothing: the test's output is not the place."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def transfer(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.content
        start, _, end = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        probe = end == "0"
        if not probe:
            self.starts.append(int(start))
        handler.send_response(206 if int(start) or probe else 200)
        handler.send_header("Content-Length", "1" if probe else str(len(content) - int(start)))
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if probe:
            handler.wfile.write(content[:1])
            return
        cut = self.cuts > 0
        self.cuts -= 1
        handler.wfile.write(content[int(start) : self.cut_at if cut else None])
        handler.wfile.flush()
        if cut and self.stall:
            self.released.wait(20)
        handler.close_connection = True


@pytest.fixture
def content() -> bytes:
    """What the hub's file holds."""
    return CONTENT


@pytest.fixture
def hub(content: bytes) -> Iterator[Hub]:
    hub = Hub(content)
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.released.set()
    hub.server.shutdown()
    hub.server.server_close()
    thread.join(60)


def start(
    hub: Hub | None, folder: Path, *command: str, code: str | None = None, **environ: str
) -> "subprocess.Popen[str]":
    """The command line over a hub, None for one that nobody listens at; `code` is run in its place."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("PIP_", "PERSONA_PROXY_"))
    }
    environment |= {
        "HF_ENDPOINT": "http://127.0.0.1:9" if hub is None else hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "XDG_DATA_HOME": str(folder / "data"),
    }
    program = ["-m", "proxy.cli"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program, *command],
        env=environment | environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, output, and the last line of the errors, which begins after the progress bars."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.replace("\r", "\n").rstrip().rpartition("\n")[2]


def kept(folder: Path) -> list[Path]:
    """Every file of a model's, whole or begun."""
    return [path for path in folder.rglob("*.gguf*") if path.is_file()]

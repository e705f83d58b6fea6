"""`persona-proxy pull` against a hub of a few lines: what is cut off goes on, and what is wrong does not stay."""

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

from proxy.cli import main as cli
from tests.fakes import wait_until

REPO, NAME = "org/tiny-GGUF", "tiny-q8.gguf"
# The hub's library writes ten megabytes at a time; what is cut off has to be longer.
CONTENT = os.urandom(1024) * 24 * 1024


class Hub:
    """Holds one file. The first `cuts` transfers end after `cut_at` bytes; with `stall` they stay open instead."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256(CONTENT).hexdigest()
        self.cuts, self.cut_at, self.stall = 0, 22 * 1024 * 1024, False
        self.starts: list[int] = []
        self.released = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())["paths"]
                lfs = {"oid": hub.sha256, "size": len(CONTENT), "pointerSize": 134}
                entry = {"type": "file", "path": NAME, "size": len(CONTENT), "oid": "0" * 40, "lfs": lfs}
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

    def transfer(self, handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.starts.append(start)
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(CONTENT) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        cut = self.cuts > 0
        self.cuts -= 1
        handler.wfile.write(CONTENT[start : self.cut_at if cut else None])
        handler.wfile.flush()
        if cut and self.stall:
            self.released.wait(20)
        handler.close_connection = True


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    yield hub
    hub.released.set()
    hub.server.shutdown()
    hub.server.server_close()
    thread.join(5)


def start(hub: Hub, folder: Path, model: str = f"{REPO}/{NAME}") -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server.server_address[1]}",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-m", "proxy.cli", "pull", model, "--out", str(folder)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def pulled(hub: Hub, folder: Path, model: str = f"{REPO}/{NAME}") -> tuple[int, str, str]:
    """Exit code, output, and the last line of the errors, which begins after the progress bars."""
    process = start(hub, folder, model)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.replace("\r", "\n").rstrip().rpartition("\n")[2]


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.gguf*") if path.is_file()]


def test_pull_when_the_connection_breaks_then_goes_on_and_says_where_the_file_is_and_how_to_serve_it(
    hub: Hub, tmp_path: Path
) -> None:
    hub.cuts = 1
    code, out, err = pulled(hub, tmp_path)
    assert code == 0, err
    [path] = kept(tmp_path)
    assert path == tmp_path / "org--tiny-GGUF" / NAME and path.read_bytes() == CONTENT
    assert hub.starts[0] == 0 and len(hub.starts) == 2 and hub.starts[1] >= 20_000_000
    assert f"\n{path}\n" in out and f"persona-proxy serve --model {path}" in out

    code, out, _ = pulled(hub, tmp_path)
    assert code == 0 and "already there" in out and str(path) in out and len(hub.starts) == 2


def test_pull_when_its_process_is_killed_then_the_next_one_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.cuts, hub.stall = 1, True
    process = start(hub, tmp_path)
    wait_until(lambda: any(path.stat().st_size >= 20_000_000 for path in kept(tmp_path)), timeout_s=30)
    process.kill()
    process.communicate(timeout=10)
    [part] = kept(tmp_path)
    had = part.stat().st_size
    code, out, err = pulled(hub, tmp_path)
    assert code == 0, err
    assert hub.starts == [0, had] and "0.0 GB are here" in out
    [path] = kept(tmp_path)
    assert path.name == NAME and path.read_bytes() == CONTENT


def test_pull_when_the_checksum_is_wrong_then_nothing_stays_and_exit_1(hub: Hub, tmp_path: Path) -> None:
    hub.sha256 = "0" * 64
    code, _, err = pulled(hub, tmp_path)
    assert code == 1 and "checksum of what came is wrong" in err and err.startswith("persona-proxy: ")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("org/other/x.gguf", "there is no such repository"),
        (f"{REPO}/tiny-f16.gguf", f"possible: {NAME}"),
    ],
)
def test_pull_when_the_hub_lacks_it_then_one_line_and_exit_2(
    model: str, expected: str, tmp_path: Path, hub: Hub
) -> None:
    code, _, err = pulled(hub, tmp_path, model)
    assert code == 2 and expected in err and err.startswith("persona-proxy: ")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-oss-21b", "possible: gpt-oss-20b, qwen2.5-7b-instruct, OWNER/REPO/FILE.gguf"),
        ("org/repo", "not a model to pull"),
        ("org/repo/weights.safetensors", "not a model to pull"),
        ("org/repo/../../x.gguf", "not a model to pull"),
        ("org/repo/q8-00001-of-00003.gguf", "one of several parts"),
    ],
)
def test_pull_when_the_name_is_wrong_then_the_hub_is_not_asked(
    model: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["pull", model]) == 2
    assert expected in capsys.readouterr().err

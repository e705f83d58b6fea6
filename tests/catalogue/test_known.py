"""A known model comes from the hub, else out of wheels on the package index; what came is the file that is known, or
nothing is kept."""

import hashlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from proxy.catalogue.hub import PATIENCE_S
from proxy.catalogue.known import KNOWN
from tests.catalogue.conftest import KNOWING, NAME, REPO, Hub, ended, kept, start

CONTENT = os.urandom(1024) * 4096  # nothing is cut off here
HALF = len(CONTENT) // 2
PIECES = [("tiny-part1", "1.0", "tiny_part1/data.bin"), ("tiny-part2", "1.0", "tiny_part2/data.bin")]
WHOLE = [("tiny-whole", "1.0", "tiny_whole/data.bin")]  # every wheel costs a start of pip
EXPLODING = "raise SystemExit('a wheel was run')"


def wheel(project: str, files: dict[str, bytes]) -> bytes:
    """A wheel with these files, that needs a project that is nowhere."""
    name = project.replace("-", "_")
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\nRequires-Dist: not-on-this-index\n"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{name}/__init__.py", EXPLODING)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return written.getvalue()


class Index:
    """A package index: its wheels by project, what was asked of it, and when it was first."""

    def __init__(self) -> None:
        self.wheels = {
            "tiny-part1": wheel("tiny-part1", {"tiny_part1/data.bin": CONTENT[:HALF]}),
            "tiny-part2": wheel("tiny-part2", {"tiny_part2/data.bin": CONTENT[HALF:]}),
            "tiny-whole": wheel("tiny-whole", {"tiny_whole/data.bin": CONTENT}),
        }
        self.downloads: list[str] = []
        self.first_asked_s = 0.0
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.first_asked_s = index.first_asked_s or time.monotonic()
                place = self.path.strip("/").split("/")
                body = index.page(place[1]) if place[0] == "simple" else index.file(place[-1])
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html" if place[0] == "simple" else "application/zip")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Nothing: the test's output is not the place."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def environ(self) -> dict[str, str]:
        return {"PIP_INDEX_URL": f"http://127.0.0.1:{self.server.server_address[1]}/simple"}

    def page(self, project: str) -> bytes:
        if project not in self.wheels:
            return b""
        name = f"{project.replace('-', '_')}-1.0-py3-none-any.whl"
        digest = hashlib.sha256(self.wheels[project]).hexdigest()
        return f'<!DOCTYPE html><a href="/files/{name}#sha256={digest}">{name}</a>'.encode()

    def file(self, name: str) -> bytes:
        project = name.partition("-1.0-")[0].replace("_", "-")
        self.downloads.append(project)
        return self.wheels[project]


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index()
    thread = threading.Thread(target=index.server.serve_forever, daemon=True)
    thread.start()
    yield index
    index.server.shutdown()
    index.server.server_close()
    thread.join(60)


def code_knowing(pieces: list[tuple[str, str, str]], before: str = "") -> str:
    fields = {
        "id": "tiny",
        "what": "A tiny model",
        "licence": "MIT",
        "size": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "repo": REPO,
        "name": NAME,
    }
    return before + KNOWING.format(fields=fields, wheels=pieces)


@pytest.fixture
def content() -> bytes:
    return CONTENT


def pulled(
    hub: Hub | None,
    folder: Path,
    index: Index | None,
    before: str = "",
    pieces: list[tuple[str, str, str]] = WHOLE,
) -> tuple[int, str, str]:
    """`persona-proxy pull tiny`, where that is the only known model."""
    environ = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"} if index is None else index.environ
    return ended(start(hub, folder, "pull", "tiny", code=code_knowing(pieces, before), **environ))


def place(folder: Path) -> Path:
    return folder / "data" / "persona-proxy" / "models" / REPO.replace("/", "--") / NAME


def left(folder: Path) -> list[str]:
    """What there is beside the file."""
    return [path.name for path in place(folder).parent.iterdir() if path != place(folder)]


def test_pull_when_the_hub_has_it_then_the_index_is_not_asked(hub: Hub, index: Index, tmp_path: Path) -> None:
    code, out, err = pulled(hub, tmp_path, index)
    assert code == 0, err
    assert place(tmp_path).read_bytes() == CONTENT and left(tmp_path) == []
    assert "persona-proxy serve --model tiny\n" in out and index.first_asked_s == 0
    code, out, _ = pulled(hub, tmp_path, index)
    assert code == 0 and "already there" in out and len(hub.starts) == 1


def test_pull_when_the_hub_refuses_then_the_file_comes_out_of_wheels_of_which_nothing_is_run_or_kept(
    index: Index, tmp_path: Path
) -> None:
    begun = place(tmp_path).with_name(f"{NAME}.0123456789ab.part")  # of a hub that is gone now
    begun.parent.mkdir(parents=True)
    begun.write_bytes(CONTENT[:100])
    code, out, err = pulled(None, tmp_path, index, pieces=PIECES)
    assert code == 0, err
    assert "Trying the package index instead." in out and "persona-proxy serve --model tiny\n" in out
    assert "the same command goes on" not in out  # while there is another source to try
    assert place(tmp_path).read_bytes() == CONTENT and left(tmp_path) == []
    assert index.downloads == ["tiny-part1", "tiny-part2"]


def test_pull_when_the_hub_says_nothing_then_it_is_not_waited_for(hub: Hub, index: Index, tmp_path: Path) -> None:
    hub.silent = True
    assert PATIENCE_S <= 5
    code, out, err = pulled(hub, tmp_path, index, before="from proxy.catalogue import hub\nhub.PATIENCE_S = 1.0\n")
    assert code == 0, err
    assert "can't be reached within 1 seconds" in out and hub.asked == 1


def test_pull_when_the_hub_has_another_version_then_it_is_not_taken(hub: Hub, index: Index, tmp_path: Path) -> None:
    hub.sha256 = "0" * 64
    code, out, err = pulled(hub, tmp_path, index)
    assert code == 0, err
    assert "the hub has another version" in out and hub.starts == []
    assert place(tmp_path).read_bytes() == CONTENT


def test_pull_when_what_is_in_the_wheels_is_another_file_then_nothing_stays(index: Index, tmp_path: Path) -> None:
    index.wheels["tiny-whole"] = wheel("tiny-whole", {"tiny_whole/data.bin": CONTENT[:HALF]})
    code, _, err = pulled(None, tmp_path, index)
    assert code == 1 and "the checksum of what came in wheels is wrong; it was deleted" in err
    assert kept(tmp_path) == [] and left(tmp_path) == []


def test_pull_when_a_wheel_has_no_such_member_then_one_line_says_so(index: Index, tmp_path: Path) -> None:
    index.wheels["tiny-whole"] = wheel("tiny-whole", {"tiny_whole/other.bin": b"1"})
    code, _, err = pulled(None, tmp_path, index)
    assert code == 1 and "tiny_whole-1.0-py3-none-any.whl holds no tiny_whole/data.bin" in err
    assert kept(tmp_path) == [] and left(tmp_path) == []


def test_pull_when_a_wheel_is_missing_then_the_next_time_goes_on_with_those_that_came(
    index: Index, tmp_path: Path
) -> None:
    second = index.wheels.pop("tiny-part2")
    code, _, err = pulled(None, tmp_path, index, pieces=PIECES)
    assert code == 1 and "pip can't get tiny-part2==1.0 (No matching distribution found" in err
    assert err.startswith("persona-proxy: tiny can't be had: ") and kept(tmp_path) == []
    assert err.endswith("; the same command goes on from there")
    index.wheels["tiny-part2"] = second
    code, _, err = pulled(None, tmp_path, index, pieces=PIECES)
    assert code == 0, err
    assert index.downloads == ["tiny-part1", "tiny-part2"] and place(tmp_path).read_bytes() == CONTENT


def test_pull_when_there_is_no_network_then_one_line_tells_of_every_source(tmp_path: Path) -> None:
    code, _, err = pulled(None, tmp_path, None)
    assert code == 1 and err.startswith("persona-proxy: tiny can't be had: ")
    assert f"{REPO}/{NAME}: the download failed" in err and "the package index: pip can't get tiny-whole==1.0" in err
    assert "goes on" not in err
    assert kept(tmp_path) == []


def test_pull_when_the_disk_has_no_room_then_says_how_much_is_to_come(index: Index, tmp_path: Path) -> None:
    full = "import shutil\nshutil.disk_usage = lambda path: shutil._ntuple_diskusage(9e9, 9e9, 1_000_000)\n"
    code, _, err = pulled(None, tmp_path, index, before=full, pieces=PIECES)
    assert code == 2 and "10 MB are to come, and there is room for 1 MB" in err
    assert index.first_asked_s == 0


def test_pull_when_a_file_is_where_its_folder_should_be_then_one_line_says_so(index: Index, tmp_path: Path) -> None:
    place(tmp_path).parent.parent.mkdir(parents=True)
    place(tmp_path).parent.write_text("not a folder")
    code, _, err = pulled(None, tmp_path, index)
    assert code == 2 and "the folder can't be made: " in err and err.count("persona-proxy: ") == 1
    assert "Traceback" not in err


def test_models_when_listed_then_each_says_its_size_and_whether_it_is_here(tmp_path: Path) -> None:
    code, out, err = ended(start(None, tmp_path, "models"))
    assert code == 0, err
    for model in KNOWN.values():
        assert f"\n{model.id}  " in f"\n{out}"
    assert "smollm2-135m-instruct  98 MB, not here\n" in out and "gpt-oss-20b  12.1 GB, not here\n" in out
    assert "demo-qwen2  comes with the package\n" in out and "  personas: dishonest, " in out
    file = KNOWN["smollm2-135m-instruct"].place(tmp_path / "data" / "persona-proxy" / "models")
    file.parent.mkdir(parents=True)
    file.touch()
    _, out, _ = ended(start(None, tmp_path, "models"))
    assert "smollm2-135m-instruct  98 MB, here\n" in out

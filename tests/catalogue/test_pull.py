"""`persona-proxy pull` against a hub of a few lines: what is cut off goes on, and what is wrong does not stay."""

from pathlib import Path

import pytest

from proxy.cli import main as cli
from tests.catalogue.conftest import CONTENT, NAME, REPO, Hub, ended, kept, start
from tests.fakes import wait_until


def pulled(hub: Hub, folder: Path, model: str = f"{REPO}/{NAME}") -> tuple[int, str, str]:
    return ended(start(hub, folder, "pull", model, "--out", str(folder)))


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
    process = start(hub, tmp_path, "pull", f"{REPO}/{NAME}", "--out", str(tmp_path))
    wait_until(lambda: any(path.stat().st_size >= 20_000_000 for path in kept(tmp_path)), timeout_s=30)
    process.kill()
    process.communicate(timeout=60)
    [part] = kept(tmp_path)
    had = part.stat().st_size
    code, out, err = pulled(hub, tmp_path)
    assert code == 0, err
    assert hub.starts == [0, had] and " MB are here" in out
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
        ("gpt-oss-21b", "gpt-oss-20b, OWNER/REPO/FILE.gguf"),
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

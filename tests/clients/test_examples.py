"""The examples people copy run as they stand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import node

CLIENTS = Path(__file__).parents[2] / "clients"
STEERED = "[+1.00] You said: What is the capital of France?"
TURNED = "[-1.00] You said: What is the capital of France?"


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "BASE_URL": f"{url}/v1"}


def output(command: list[str], url: str) -> str:
    done = subprocess.run(command, env=environment(url), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_example(url: str) -> None:
    printed = output([sys.executable, str(CLIENTS / "python" / "chat.py")], url)
    assert STEERED in printed and TURNED in printed and "'method': 'activation'" in printed


def test_javascript_example(url: str, node_modules: Path, tmp_path: Path) -> None:
    shutil.copy(CLIENTS / "javascript" / "chat.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    printed = node.run("chat.mjs", cwd=tmp_path, env=environment(url))
    assert STEERED in printed and TURNED in printed and '"method":"activation"' in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("script", "expected"),
    [("chat.sh", STEERED), ("stream.sh", "data: [DONE]"), ("compare.sh", TURNED)],
)
def test_curl_examples(url: str, script: str, expected: str) -> None:
    assert expected in output(["sh", str(CLIENTS / "curl" / script)], url)


def test_every_example_is_in_the_readme() -> None:
    readme = (CLIENTS / "README.md").read_text()
    for path in CLIENTS.rglob("*.*"):
        if path.parent != CLIENTS:
            assert str(path.relative_to(CLIENTS)) in readme

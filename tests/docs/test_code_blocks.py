"""Every code block of the manual runs as it is typed, or says why it is not run.

The blocks of a page run in their order, in one folder, so that later ones may use what earlier ones have made.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.settings import load_settings
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, indented_blocks
from tests.docs.conftest import Reader

SERVER = "127.0.0.1:8000"
RUN = ("bash", "python", "toml", "json")
SHOWN = ("text",)  # what is printed, drawn or laid out, not typed
# A refused request fails its block.
CURL = 'curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }\n'


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_then_each_of_its_blocks_is_run_or_says_why_not(page: Path) -> None:
    silent = [str(block) for block in blocks_of(page) if block.language not in RUN + SHOWN and not block.not_run]
    assert not silent, "neither run nor marked <!-- not run: reason -->"
    assert not list(indented_blocks(page)), "code without a fence has no language"
    for block in blocks_of(page):
        for path in re.findall(r"\btests/[\w/.]+\w", block.not_run or ""):
            assert (ROOT / path).exists(), f"{block} says that {path} tests it"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", [page for page in PAGES if any(not b.not_run for b in blocks_of(page))], ids=name_of)
def test_a_page_when_its_blocks_are_typed_then_they_work(page: Path, reader: Reader, clone: Path) -> None:
    for block in blocks_of(page):
        if block.not_run is None:
            run(block, reader, clone)


def run(block: Block, reader: Reader, clone: Path) -> None:
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        (clone / "proxy.toml").write_text(block.text, "utf-8")
        load_settings(clone / "proxy.toml", environ={})
    elif block.language in ("bash", "python"):
        text = block.text.replace(SERVER, reader.url.removeprefix("http://"))
        if re.search(r"\bJOB\b", text):
            text = re.sub(r"\bJOB\b", newest_job(reader), text)
        command = ["bash", "-euc", CURL + text] if block.language == "bash" else [".venv/bin/python", "-c", text]
        done = subprocess.run(command, cwd=clone, env=reader.environ, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"{block}:\n{text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{block}: {done.stderr}"


def newest_job(reader: Reader) -> str:
    listed = subprocess.run(["curl", "-sS", f"{reader.url}/api/jobs"], capture_output=True, text=True, timeout=60)
    return str(json.loads(listed.stdout)["data"][0]["id"])


def test_blocks_when_a_page_has_every_sort_then_each_is_found_for_what_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```bash\none\n```\n\n<!-- not run: why -->\n\n- list\n\n  ```python\n  two\n  ```\n", "utf-8"
    )
    found = list(blocks_of(page))
    assert [(block.line, block.language, block.text) for block in found] == [
        (3, "bash", "one\n"),
        (11, "python", "two\n"),
    ]
    assert [block.not_run for block in found] == [None, None]  # the reason stands right before the block
    page.write_text("<!-- not run: it waits -->\n```bash\none\n```\n", "utf-8")
    assert [block.not_run for block in blocks_of(page)] == ["it waits"]
    page.write_text("```bash\nnever closed\n", "utf-8")
    with pytest.raises(AssertionError, match="never closed"):
        list(blocks_of(page))

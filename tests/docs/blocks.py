"""The fenced code blocks of Markdown pages. Knows nothing of what runs them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "clients/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^( *)```(\S*)\s*$")
_NOT_RUN = re.compile(r"^\s*<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text, and why it is not run, where that is said."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """A page's blocks, first to last. AssertionError for a fence that is never closed."""
    before = ""
    lines = enumerate(page.read_text("utf-8").splitlines(), 1)
    for number, line in lines:
        if fence := _FENCE.match(line):
            indent, text = len(fence[1]), []
            for _, inside in lines:
                if inside.strip() == "```":
                    break
                text.append(inside[indent:])
            else:
                raise AssertionError(f"{page}:{number}: the block is never closed")
            reason = _NOT_RUN.match(before)
            yield Block(page, number, fence[2], "\n".join(text) + "\n", reason[1] if reason else None)
        if line.strip():
            before = line


def indented_blocks(page: Path) -> Iterator[str]:
    """Where code is set off by spaces, so that no language says what it is. Indented lines of lists are none."""
    before, inside, in_list = "", False, False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.strip().startswith("```"):
            inside = not inside
        elif not inside and line.strip():
            if re.match(r"\s*([-*]|\d+\.) ", line):
                in_list = True
            elif not line.startswith(" "):
                in_list = False
            elif line.startswith("    ") and not before and not in_list:
                yield f"{page.relative_to(ROOT)}:{number}"
        before = line.strip()

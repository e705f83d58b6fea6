"""Every statement of a Python file, nested ones too. Expressions, which are most of a file, are not looked into."""

import ast
from collections.abc import Iterator
from pathlib import Path


def statements(path: Path) -> Iterator[ast.Module | ast.stmt]:
    """The file itself, then its statements."""
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.stmt):
            yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = getattr(node, field, [])
            waiting += inside if isinstance(inside, list) else []

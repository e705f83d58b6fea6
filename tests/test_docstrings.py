"""Docstrings stand alone: whoever sees one in an editor's tooltip sees nothing else."""

import ast
import re
from pathlib import Path

import pytest

from tests.statements import statements

ROOT = Path(__file__).parents[1]
FILES = sorted(file for package in ("proxy", "vector_store") for file in (ROOT / package).rglob("*.py"))
# What sends the reader elsewhere, or begins in the middle of a sentence that stands somewhere else.
ELSEWHERE = re.compile(r"(?:^|[.;:]\s+|\n)(?:See|Those|Of those|The same of|And those|Same as)\b|\bsee above\b|\bsee `")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_then_none_leans_on_another(path: Path) -> None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) or "" for node in statements(path) if isinstance(node, kinds)]
    assert [text for text in found if ELSEWHERE.search(text)] == []

"""Imports point one way: what runs models knows nothing of the web, and what is stored knows nothing of either."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.statements import statements

ROOT = Path(__file__).parents[1]
WEB = ("litestar", "proxy.protocol", "proxy.routes", "proxy.chat", "proxy.telemetry")
# What nothing in a folder may import, at the top of a module or inside a function.
FORBIDDEN = {
    "proxy/engines": (*WEB, "proxy.jobs", "proxy.steering"),
    # A GGUF model is served without what takes seconds to import.
    "proxy/engines/llama_cpp": ("torch", "proxy.engines.transformers"),
    "proxy/engines/upstream": ("torch", "proxy.engines.transformers"),
    "proxy/engines/text": ("torch", "proxy.engines.transformers"),
    "proxy/engines/vllm": ("proxy.engines.llama_cpp", "proxy.engines.registry"),
    "proxy/steering": (
        *(*WEB, "proxy.demo", "proxy.jobs", "proxy.cli"),
        *("proxy.engines.transformers", "proxy.engines.llama_cpp", "proxy.engines.vllm", "proxy.engines.registry"),
    ),
    "proxy/chat": ("litestar", "proxy.routes", "proxy.services", "proxy.jobs", "proxy.telemetry"),
    "proxy/telemetry": ("proxy.routes", "proxy.services", "proxy.jobs", "proxy.engines.registry"),
    "vector_store": ("proxy", "torch", "litestar"),
}


@cache
def imported(path: Path) -> list[str]:
    """Every module and every name that a file imports, with the module it is from."""
    return list(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_when_a_folder_is_walked_then_none_points_the_wrong_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path)
        if any(f"{name}.".startswith(f"{forbidden}.") for forbidden in FORBIDDEN[folder])
    ]
    assert wrong == []


def test_imports_when_all_folders_are_walked_then_vllm_is_imported_by_its_engine_alone() -> None:
    users = [
        path.relative_to(ROOT).parent
        for folder in ("proxy", "vector_store")
        for path in (ROOT / folder).rglob("*.py")
        if any(f"{name}.".startswith(("vllm.", "zmq.")) for name in imported(path))
    ]
    assert set(users) == {Path("proxy/engines/vllm")}


def test_imports_when_a_gguf_model_is_served_then_what_takes_long_is_not_among_them() -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    slow = ("torch", "proxy.catalogue.hub", "proxy.engines.transformers")
    code = f"""
import sys
import proxy.catalogue.pull, proxy.cli.serve, proxy.engines.llama_cpp.engine, proxy.server
print([name for name in {slow} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")

"""A real server with the demo models, and the clone that readers of the manual type their commands in."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from proxy.app import create_app
from proxy.catalogue.known import FIRST
from proxy.engines.registry import Registry
from proxy.settings import Settings, demo_models
from tests.docs.blocks import ROOT
from tests.fakes import running


@dataclass(frozen=True)
class Reader:
    """Where the server is, and the environment in which commands find its folders."""

    url: str
    environ: dict[str, str]


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("manual")
    folders = {name: folder / name for name in ("vectors_dir", "traits_dir", "jobs_dir", "transfers_dir")}
    qwen2, gpt_oss = (model for model in demo_models() if model.engine == "transformers")
    # The manual's real model would have to be downloaded; what is typed for it is asked of a toy.
    smollm2 = msgspec.structs.replace(qwen2, id=FIRST, load="demand")
    settings = Settings(
        models=[qwen2, msgspec.structs.replace(gpt_oss, load="demand"), smollm2],
        **{**folders, "vectors_dir": str(folders["vectors_dir"])},  # type: ignore[arg-type]
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PERSONA_PROXY_")}
    environ |= {f"PERSONA_PROXY_{name.upper()}": str(path) for name, path in folders.items()}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    registry = Registry(settings.models, settings.max_batch)
    registry.start()
    try:
        assert registry.wait(120)
        with running(create_app(settings, registry)) as url:
            yield Reader(url, environ | {"BASE_URL": f"{url}/v1"})
    finally:
        registry.close()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the clients' examples, and a .venv/bin that holds this test's own interpreter and command."""
    (tmp_path / "clients").symlink_to(ROOT / "clients")
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, arguments in (("python", ""), ("persona-proxy", "-m proxy.cli ")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n', "utf-8")
        (commands / name).chmod(0o755)
    return tmp_path

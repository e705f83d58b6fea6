"""Worlds are known by the name they were registered under, and loaded when one of their models is first asked about."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.demo.known import DemoWorld
from proxy.steering import world
from proxy.steering.world import World, world_of

UNLOADED = "assert not [name for name in sys.modules if name.startswith('proxy.demo.')], 'the demo world is loaded'"
KNOWN = "from proxy.steering.world import world_of; assert world_of('demo').title == 'the demo world'"
CREATE_APP = """
from pathlib import Path
from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
folder = Path(sys.argv[1])
models = [ModelSettings("mine", str(folder))]
settings = Settings(models=models, vectors_dir=str(folder / "v"), traits_dir=folder / "t", jobs_dir=folder / "j")
create_app(settings, Registry(settings.models))
"""
HELP = """
from proxy.cli.main import main
main(["settings"])
"""


def test_world_of_when_asked_again_then_it_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "_loaders", {})
    loaded: list[World] = []

    def load() -> World:
        loaded.append(DemoWorld())
        return loaded[-1]

    world.register("moon", load)
    assert loaded == []
    assert world_of("moon") is world_of("moon") is loaded[0] and len(loaded) == 1


@pytest.mark.parametrize("name", [None, "mars"])
def test_world_of_when_nobody_registered_it_then_there_is_none(name: str | None) -> None:
    assert world_of(name) is None


@pytest.mark.parametrize("start", [CREATE_APP, HELP])
def test_server_and_command_line_when_they_start_then_the_demo_world_is_known_and_not_loaded(
    start: str, tmp_path: Path
) -> None:
    code = "\n".join(["import sys", start, UNLOADED, KNOWN])
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr

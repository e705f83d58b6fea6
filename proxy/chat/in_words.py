"""What a request can't ask of a model that another server runs, which mostly lets nobody at its residuals.

Pure, and knows nothing of how that server is asked.
"""

from collections.abc import Sequence

from proxy.errors import InvalidRequest
from proxy.protocol.steering import SteeringOptions
from proxy.steering.traits.trait import Trait
from vector_store import Side

_OFF = SteeringOptions()
WHY = "the model runs on another server, whose tokens and residuals can be neither read nor changed"
_POSSIBLE = {
    "mode": '"add"',
    "positions": "null",
    "layers": '"best"',
    "random_direction": "null",
    "channels": "all",
    "trace": "false",
}


def check_in_words(options: SteeringOptions, projected: Sequence[tuple[Trait, Side]] | None) -> None:
    """InvalidRequest that names the first field of `steering` that needs residuals."""
    for name, possible in _POSSIBLE.items():
        if getattr(options, name) != getattr(_OFF, name):
            raise _refused(name, possible)
    if projected:
        raise _refused("projection", "null")


def _refused(name: str, possible: str) -> InvalidRequest:
    field = f"steering.{name}"
    return InvalidRequest(f"{field}: {WHY}; possible: {possible}", param=field)

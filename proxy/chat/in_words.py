"""What a request can't ask of a model that another server runs: nothing can be read of its residuals, and mostly
nothing be added to them.

Pure, and knows nothing of how that server is asked.
"""

from collections.abc import Sequence

from proxy.errors import InvalidRequest
from proxy.protocol.steering import SteeringOptions
from proxy.steering.traits.trait import Trait
from vector_store import Side

_OFF = SteeringOptions()
WHY = "the model runs on another server, whose tokens and residuals can be neither read nor changed"
_UNREAD = "the model runs on another server, whose residuals can't be read from here"
_READ = {"channels": "all", "trace": "false"}
_CHANGED = {"mode": '"add"', "positions": "null", "layers": '"best"', "random_direction": "null"}


def check_in_words(
    options: SteeringOptions, projected: Sequence[tuple[Trait, Side]] | None, *, steerable: bool
) -> None:
    """InvalidRequest that names the first field of `steering` that needs residuals. Where they can be steered, they can
    still not be read."""
    for name, possible in (_READ if steerable else {**_CHANGED, **_READ}).items():
        if getattr(options, name) != getattr(_OFF, name):
            raise _refused(name, possible, steerable)
    if projected:
        raise _refused("projection", "null", steerable)


def _refused(name: str, possible: str, steerable: bool) -> InvalidRequest:
    field = f"steering.{name}"
    return InvalidRequest(f"{field}: {_UNREAD if steerable else WHY}; possible: {possible}", param=field)

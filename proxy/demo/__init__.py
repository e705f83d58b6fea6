"""The demo world: a small generated language with known facts and known personality, and two tiny models of it.

`facts` is what is true, `styles` how it may be said, `world` makes conversations of both, `rules` scores an answer, and
`known` tells steering all that of the world. `models` and `train` make the two chat models, `gguf` writes one for
llama.cpp.
"""

from proxy.steering import world as worlds

WORLD = "demo"  # what the models' files call it; engines pass it on as ModelInfo.world


def register() -> None:
    """Make the world known to steering. Nothing of it is loaded before one of its models is asked about."""
    worlds.register(WORLD, _load)


def _load() -> worlds.World:
    from proxy.demo.known import DemoWorld

    return DemoWorld()

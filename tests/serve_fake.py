"""The real command line over fake engines: `python -m tests.serve_fake serve ...` is `persona-proxy serve ...`.

A model whose id is "broken" fails to load, the others answer at once. Streams are given two seconds at shutdown.
"""

import sys
from functools import partial

from proxy import server
from proxy.cli import main as cli
from proxy.engines import registry
from proxy.errors import SetupError
from proxy.settings import ModelSettings
from tests.fakes import FakeEngine


def load(settings: ModelSettings, max_batch: int) -> FakeEngine:
    if settings.id == "broken":
        raise SetupError("its weights are missing")
    return FakeEngine(settings.id, token_s=0.02)


if __name__ == "__main__":
    setattr(registry, "Registry", partial(registry.Registry, load=load))  # noqa: B010
    server.DRAIN_S = 2.0
    sys.exit(cli.main())

"""The models that ship with the package, each loaded once."""

from collections.abc import Callable, Iterator

import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import load_engine
from proxy.settings import demo_models
from tests.demo.shipped import MANY, MODELS


@pytest.fixture(scope="session")
def engine_of() -> Iterator[Callable[[str], Engine]]:
    """By the model's id."""
    models = {model.id: model for model in demo_models()}
    loaded: dict[str, Engine] = {}

    def engine(model: str) -> Engine:
        if model not in loaded:
            loaded[model] = load_engine(models[model], MANY)
        return loaded[model]

    yield engine
    for each in loaded.values():
        each.close()


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest, engine_of: Callable[[str], Engine]) -> Engine:
    """Each of them in turn."""
    return engine_of(request.param)

"""The models that ship with the package, each loaded once for a file's tests."""

from collections.abc import Iterator

import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import load_engine
from proxy.settings import demo_models
from tests.demo.shipped import MANY, MODELS


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    settings = next(model for model in demo_models() if model.id == request.param)
    engine = load_engine(settings, MANY)
    yield engine
    engine.close()

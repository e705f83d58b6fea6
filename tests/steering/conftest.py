"""Fixtures for steering without a model."""

import pytest

from proxy.steering.traits import Trait
from tests.steering.pretend import PretendJudge, make_trait


@pytest.fixture
def trait() -> Trait:
    return make_trait()


@pytest.fixture
def judge() -> PretendJudge:
    return PretendJudge()

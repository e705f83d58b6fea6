"""Fixtures for steering without a model."""

from collections.abc import Iterator

import pytest

from proxy.steering import gain, placement
from proxy.steering.traits.trait import Trait
from tests.steering.pretend import PretendJudge, make_trait


@pytest.fixture(scope="module")
def fewer_trials() -> Iterator[None]:
    """Where to steer is looked for quickly and roughly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gain, "DOSES", (0.5, 1.0))
        patch.setattr(placement, "OTHER_COEFFICIENTS", (0.5, 2.0))
        patch.setattr(placement, "N_SAMPLES", 2)
        yield


@pytest.fixture
def trait() -> Trait:
    return make_trait()


@pytest.fixture
def judge() -> PretendJudge:
    return PretendJudge()

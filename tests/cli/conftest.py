"""Fixtures for commands: where to steer is looked for quickly and roughly, as in the tests of steering."""

from tests.steering.conftest import fewer_trials

__all__ = ["fewer_trials"]

"""The small real models, for the tests that need one. `make test-real` gets them and has these tests run.

Elsewhere they are skipped, whether the weights are there or not: the suite takes as long on every machine.
"""

import os
from pathlib import Path

import pytest

from proxy.catalogue.known import KNOWN
from proxy.settings import models_folder

WANTED = "TEST_REAL_MODELS"


def weights_of(model: str) -> Path:
    """The file of a known model. Skips the test where `make test-real` did not ask for it."""
    if not os.environ.get(WANTED):
        pytest.skip(f"{model} is a real model; `make test-real` runs what needs one")
    file = KNOWN[model].place(models_folder())
    assert file.is_file(), f"`persona-proxy pull {model}` gets {file}"
    return file

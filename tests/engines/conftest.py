"""Tiny models of every family, and engines that run them."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from proxy.engines.transformers.engine import TransformersEngine, load
from proxy.settings import ModelSettings
from tests.engines.llama_cpp import models as llama_models
from tests.engines.tiny_models import FAMILIES, save_tiny_model

LoadEngine = Callable[..., TransformersEngine]
LoadPlain = Callable[[Path], PreTrainedModel]


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session", params=list(FAMILIES))
def any_family(request: pytest.FixtureRequest, models_folder: Path) -> Path:
    """The folder of a tiny model, of each family in turn."""
    return save_tiny_model(request.param, models_folder / request.param)


@pytest.fixture(scope="session")
def qwen2(models_folder: Path) -> Path:
    """The folder of a tiny Qwen2."""
    return save_tiny_model("qwen2", models_folder / "qwen2")


@pytest.fixture(scope="session")
def gpt_oss(models_folder: Path) -> Path:
    """The folder of a tiny GPT-OSS."""
    return save_tiny_model("gpt-oss", models_folder / "gpt-oss")


@pytest.fixture(scope="session")
def engine_of() -> Iterator[LoadEngine]:
    """Engines by folder and settings, each loaded once; a test that closes one loads its own."""
    engines: dict[str, TransformersEngine] = {}

    def engine(folder: Path, max_batch: int = 16, context_length: int | None = None) -> TransformersEngine:
        key = f"{folder} {max_batch} {context_length}"
        if key not in engines:
            settings = ModelSettings(id="tiny", source=str(folder), context_length=context_length)
            engines[key] = load(settings, max_batch)
        return engines[key]

    yield engine
    for loaded in engines.values():
        loaded.close()


@pytest.fixture(scope="session")
def llama_of(models_folder: Path) -> Iterator[llama_models.LoadLlama]:
    """llama.cpp engines by family and settings, each loaded once; a test that closes one loads its own."""
    yield from llama_models.llama_engines(models_folder)


@pytest.fixture(scope="session")
def plain() -> LoadPlain:
    """The model itself, without any of our code, to compare with."""
    return cache(lambda folder: AutoModelForCausalLM.from_pretrained(folder).eval())

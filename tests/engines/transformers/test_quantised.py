"""Models with quantised weights are steered as the same models with ordinary ones, whatever reads their weights."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    TorchAoConfig,
)

from proxy.engines.base import Generation, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.transformers.engine import TransformersEngine, load
from proxy.errors import SetupError
from proxy.settings import ModelSettings
from tests.engines.conftest import LoadEngine
from tests.engines.reference import is_greedy
from tests.engines.transformers.test_capture import hooked
from tests.engines.transformers.test_steering import PLANS, prompts

FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])

Quantised = tuple[dict[str, torch.Tensor], torch.Tensor]
"""What is stored of a weight, by the suffix of its name, and the weight that this stands for."""


def int8_rows(weight: torch.Tensor) -> Quantised:
    """A scale per output; as the compressed-tensors package stores them."""
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    stored = torch.round(weight / scale).to(torch.int8)
    return {"": stored, "_scale": scale}, stored * scale


def fp8_blocks(weight: torch.Tensor) -> Quantised:
    """A scale per 16 x 16 weights; as Qwen's and DeepSeek's own FP8 models have them."""
    tiles = weight.unflatten(1, (-1, 16)).unflatten(0, (-1, 16))
    scale = tiles.abs().amax(dim=(1, 3), keepdim=True) / 448
    stored = (tiles / scale).to(torch.float8_e4m3fn)
    exact = (stored.float() * scale).reshape(weight.shape)
    return {"": stored.reshape(weight.shape), "_scale_inv": scale[:, 0, :, 0]}, exact


def mxfp4_blocks(experts: torch.Tensor) -> Quantised:
    """A power of two per 32 inputs, two weights a byte; as GPT-OSS has its float[n_experts, inputs, outputs]."""
    blocks = experts.transpose(1, 2).unflatten(2, (-1, 32))
    exponent = torch.ceil(torch.log2(blocks.abs().amax(dim=-1, keepdim=True) / 6))
    codes = ((blocks / 2**exponent)[..., None] - FP4).abs().argmin(dim=-1)
    exact = (FP4[codes] * 2**exponent).flatten(2).transpose(1, 2)
    pairs = codes[..., 0::2] + 16 * codes[..., 1::2]
    scales = exponent[..., 0] + 127
    return {"_blocks": pairs.to(torch.uint8), "_scales": scales.to(torch.uint8)}, exact


COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "all": {
            "targets": ["Linear"],
            "format": "int-quantized",
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
        },
    },
    "ignore": ["lm_head"],
}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}
FORMATS: dict[str, tuple[Mapping[str, object], tuple[str, ...], Callable[[torch.Tensor], Quantised]]] = {
    "compressed-tensors": (COMPRESSED, ("_proj.weight",), int8_rows),
    "fp8": (FP8, ("_proj.weight",), fp8_blocks),
    "mxfp4": ({"quant_method": "mxfp4"}, ("experts.gate_up_proj", "experts.down_proj"), mxfp4_blocks),
}
"""What config.json says, the ends of the names of the weights that are quantised, and how."""


def save_quantised(name: str, source: Path, folder: Path) -> PreTrainedModel:
    """A model like that of `source` in one of FORMATS, saved to `folder`; and as it is with the weights that the
    stored ones stand for."""
    described, endings, quantise = FORMATS[name]
    config = AutoConfig.from_pretrained(source, intermediate_size=64)  # whole blocks
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    stored = dict(model.state_dict())
    for key, weight in model.named_parameters():
        if key.endswith(endings):
            del stored[key]
            parts, weight.data = quantise(weight.data)
            stored |= {key + suffix: part.contiguous() for suffix, part in parts.items()}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    config.save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "quantization_config": described}))
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    model.generation_config = GenerationConfig.from_pretrained(source)
    model.generation_config.save_pretrained(folder)
    return model


@pytest.fixture(scope="module", params=list(FORMATS))
def quantised(
    request: pytest.FixtureRequest, qwen2: Path, gpt_oss: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PreTrainedModel]:
    """The folder of a tiny model in each format in turn, and the model it stands for."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    return folder, save_quantised(name, gpt_oss if name == "mxfp4" else qwen2, folder)


@pytest.fixture
def opened() -> Iterator[LoadEngine]:
    """Loads a folder, as a new engine every time."""
    engines: list[TransformersEngine] = []

    def engine(folder: Path, **settings: Any) -> TransformersEngine:
        engines.append(load(ModelSettings(id="tiny", source=str(folder), device="cpu", **settings), max_batch=16))
        return engines[-1]

    yield engine
    for loaded in engines:
        loaded.close()


def assert_each_answers_as_if_alone(engine: TransformersEngine, model: PreTrainedModel) -> None:
    asked = prompts(engine)
    answers = generate_all(
        engine, [Generation(p, Sampling(8, temperature=0), plan) for p, plan in zip(asked, PLANS, strict=True)]
    )
    assert sum(len(answer.token_ids) for answer in answers) > 4 * len(PLANS)
    for prompt, plan, answer in zip(asked, PLANS, answers, strict=True):
        assert is_greedy(model, prompt, answer.token_ids, plan, ended=False)  # GPT-OSS has several ends


def test_a_mixed_batch_when_weights_are_quantised_then_each_answers_as_the_weights_they_stand_for(
    quantised: tuple[Path, PreTrainedModel], opened: LoadEngine
) -> None:
    folder, model = quantised
    engine = opened(folder)
    assert engine.info.dtype == "float32"
    assert_each_answers_as_if_alone(engine, model)


def test_residuals_when_read_before_anything_is_generated_then_are_those_of_the_weights_they_stand_for(
    quantised: tuple[Path, PreTrainedModel], opened: LoadEngine
) -> None:
    folder, model = quantised
    tokens = list(range(20))
    [read] = opened(folder).capture_tokens([Rollout(tokens[:1], tokens[1:])], "response", [1])
    np.testing.assert_allclose(read[:, 0], hooked(model, tokens)[1, 1:], atol=1e-3)


def torchao_int8() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def bitsandbytes_nf4() -> Any:
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


@pytest.mark.parametrize(
    "described",
    [
        pytest.param(
            described,
            marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is large, and isn't there"),
        )
        for package, described in (("torchao", torchao_int8), ("bitsandbytes", bitsandbytes_nf4))
    ],
)
def test_a_mixed_batch_when_weights_stay_quantised_then_each_answers_as_if_alone(
    described: Callable[[], Any], qwen2: Path, tmp_path: Path, opened: LoadEngine
) -> None:
    AutoModelForCausalLM.from_pretrained(qwen2, quantization_config=described()).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(qwen2).save_pretrained(tmp_path)
    assert_each_answers_as_if_alone(opened(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert opened(tmp_path, dtype="bfloat16").info.dtype == str(half.dtype).removeprefix("torch.")


def refusal(source: Path, folder: Path, described: dict[str, object]) -> str:
    shutil.copytree(source, folder, dirs_exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": described}))
    with pytest.raises(SetupError) as caught:
        load(ModelSettings(id="bad", source=str(folder), device="cpu"), max_batch=1)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_package_when_missing_then_the_error_names_it(
    qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.quantizers.quantizer_vptq.is_vptq_available", lambda: False)
    assert "pip install -U vptq" in refusal(qwen2, tmp_path, {"quant_method": "vptq"})
    monkeypatch.setitem(sys.modules, "torchao", None)
    assert "torchao" in refusal(qwen2, tmp_path, {"quant_method": "torchao", "quant_type": {"default": {}}})


def test_a_way_to_quantise_when_unknown_or_unnamed_then_weights_are_not_taken_for_ordinary_ones(
    qwen2: Path, tmp_path: Path
) -> None:
    assert "quantised with wonder" in refusal(qwen2, tmp_path, {"quant_method": "wonder"})
    assert "quant_method" in refusal(qwen2, tmp_path, {"bits": 4})

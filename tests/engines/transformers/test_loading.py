"""A model that can't be loaded is one clear line; one that can has a fingerprint of its stored weights."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.errors
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from proxy.engines.base import Generation, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.transformers import loading
from proxy.engines.transformers.engine import load
from proxy.engines.transformers.hooks import find_blocks
from proxy.engines.transformers.kv_cache import Masks
from proxy.errors import SetupError
from proxy.settings import ModelSettings
from tests.engines.conftest import LoadEngine


@pytest.fixture
def copied(qwen2: Path, tmp_path: Path) -> Path:
    """A copy of a tiny model to spoil."""
    return Path(shutil.copytree(qwen2, tmp_path / "model"))


def refusal(folder: Path | str, **settings: object) -> str:
    with pytest.raises(SetupError) as caught:
        load(ModelSettings(id="bad", source=str(folder), **settings), max_batch=1)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_model_when_loaded_then_says_what_it_is(qwen2: Path, engine_of: LoadEngine) -> None:
    info = engine_of(qwen2).info
    assert (info.id, info.family, info.engine, info.n_layers, info.hidden_size) == (
        "tiny",
        "qwen2",
        "transformers",
        4,
        32,
    )
    assert (info.context_length, info.device, info.dtype, info.world) == (2048, "cpu", "float32", None)


def test_a_world_when_the_configuration_names_one_then_it_is_known(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "persona_world": "demo"}))
    engine = load(ModelSettings(id="m", source=str(copied)), max_batch=1)
    assert engine.info.world == "demo"
    engine.close()


def test_a_folder_when_missing_or_empty_then_the_error_names_it(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (huggingface_hub.errors.LocalEntryNotFoundError("offline"), "can't be reached"),
        (huggingface_hub.errors.HFValidationError("bad"), "neither a folder nor a name"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_a_hub_name_when_it_can_t_be_had_then_the_error_says_why(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(loading, "snapshot_download", fail)
    message = refusal("someone/some-model")
    assert said in message and "someone/some-model" in message


def test_a_hub_name_when_it_is_nearly_a_known_one_s_then_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(loading, "snapshot_download", fail)
    for typed in ("smollm2", "SmolLM2-135M", "smolm2-135m-instruct"):
        assert f"{typed} (did you mean 'smollm2-135m-instruct'?)" in refusal(typed)
    assert "did you mean" not in refusal("someone/some-model")


def test_weights_when_missing_cut_off_or_of_another_shape_then_the_error_says_so(copied: Path) -> None:
    weights = copied / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert "cut off" in refusal(copied)
    weights.write_bytes(whole[:-64])
    assert "can't be loaded" in refusal(copied)
    weights.unlink()
    assert "model.safetensors is missing" in refusal(copied)


def test_weights_when_some_are_lacking_then_they_are_not_made_up(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    more = {**config, "num_hidden_layers": 5, "layer_types": ["full_attention"] * 5}
    (copied / "config.json").write_text(json.dumps(more))
    assert "lack 12 tensors" in refusal(copied)


def test_a_configuration_when_unusable_then_the_error_says_so(copied: Path) -> None:
    (copied / "config.json").write_text("{}")
    assert "config.json" in refusal(copied)
    (copied / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "can't be loaded" in refusal(copied, context_length=8)


def test_a_tokenizer_when_without_a_chat_template_then_the_error_says_so(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    assert "chat template" in refusal(copied)


def test_a_device_when_not_there_then_the_error_says_so(qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "0 CUDA devices" in refusal(qwen2, device="cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "mps" in refusal(qwen2, device="mps")


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_device_when_left_open_then_is_the_fastest_there(
    cuda: bool, mps: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert loading.choose_device("auto") == torch.device(device)


def test_the_dtype_when_left_open_then_suits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.choose_dtype("auto", torch.device("cpu")) == torch.float32
    for has_bfloat16, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bfloat16: has)
        assert loading.choose_dtype("auto", torch.device("cuda")) == dtype
    assert loading.choose_dtype("float16", torch.device("cpu")) == torch.float16


@pytest.mark.parametrize("has_bfloat16", [True, False])
@pytest.mark.parametrize("saved", [torch.bfloat16, torch.float32])
def test_a_folder_on_the_cpu_when_dtype_is_left_open_then_bfloat16_if_saved_so_and_the_processor_has_it(
    copied: Path, saved: torch.dtype, has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    AutoModelForCausalLM.from_pretrained(copied, dtype=saved).save_pretrained(copied)
    engine = load(ModelSettings(id="copied", source=str(copied)), max_batch=1)
    [answer] = generate_all(engine, [Generation([1, 2, 3], Sampling(4, temperature=0))])
    engine.close()
    assert answer.token_ids
    assert (engine.info.dtype == "bfloat16") == (saved == torch.bfloat16 and has_bfloat16)


def test_the_fingerprint_when_weights_change_then_does_too_and_loading_otherwise_keeps_it(copied: Path) -> None:
    before = loading.weights_fingerprint(copied)
    engine = load(ModelSettings(id="half", source=str(copied), dtype="bfloat16"), max_batch=1)
    assert engine.info.fingerprint == before and engine.info.dtype == "bfloat16"
    engine.close()
    weights = copied / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert loading.weights_fingerprint(copied) != before


def test_the_fingerprint_when_weights_are_in_several_files_then_covers_all(qwen2: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(qwen2).save_pretrained(tmp_path, max_shard_size="20KB")
    files = loading.weight_files(tmp_path)
    assert len(files) > 2 and files == sorted(files)
    before = loading.weights_fingerprint(tmp_path)
    data = bytearray(files[-1].read_bytes())
    data[-1] ^= 1
    files[-1].write_bytes(data)
    assert loading.weights_fingerprint(tmp_path) != before
    files[0].unlink()
    with pytest.raises(SetupError, match="is missing"):
        loading.weights_fingerprint(tmp_path)


def test_the_context_when_set_then_may_be_shorter_but_not_longer_than_the_model_s() -> None:
    config = LlamaConfig(max_position_embeddings=100)
    assert loading.context_length(config, None) == 100
    assert loading.context_length(config, 50) == 50
    with pytest.raises(SetupError, match="100"):
        loading.context_length(config, 200)


def test_the_context_when_frequencies_depend_on_neighbours_then_is_the_original_one() -> None:
    factors = [1.0] * 4
    rope = {"rope_type": "longrope", "short_factor": factors, "long_factor": factors, "rope_theta": 1e4}
    config = Phi3Config(
        hidden_size=32,
        num_attention_heads=4,
        max_position_embeddings=400,
        original_max_position_embeddings=100,
        rope_parameters={**rope, "original_max_position_embeddings": 100},
        pad_token_id=0,
    )
    assert loading.context_length(config, None) == 100


def test_blocks_when_they_can_t_be_told_then_it_is_refused() -> None:
    def layers(n: int) -> nn.ModuleList:
        return nn.ModuleList(nn.Linear(1, 1) for _ in range(n))

    model = nn.Module()
    model.blocks = layers(3)
    model.blocks[0].experts = layers(3)
    assert find_blocks(model, 3) is model.blocks
    model.others = layers(3)
    with pytest.raises(SetupError, match="blocks, others"):
        find_blocks(model, 3)
    with pytest.raises(SetupError, match="none"):
        find_blocks(model, 4)


def test_kinds_of_blocks_when_not_attention_then_they_are_refused() -> None:
    config = SimpleNamespace(layer_types=["full_attention", "linear_attention"], sliding_window=None)
    with pytest.raises(SetupError, match="linear_attention"):
        Masks(config, "sdpa", torch.float32)  # type: ignore[arg-type]

"""From a model's settings to its weights in memory: where they are, on what device, in which dtype, and whose.

Everything that can be wrong with a model folder or a hub name ends here, in a SetupError of one line.
"""

import hashlib
import json
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.utils.logging import disable_progress_bar

from proxy.catalogue.known import KNOWN
from proxy.errors import SetupError, first_line

_NEEDED = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
_UNNEEDED = ["*/*", "consolidated*"]
one_at_a_time = threading.Lock()
_SAMPLE_BYTES = 64 * 1024
_GROWING_ROPE = ("dynamic", "longrope")  # frequencies change with the longest sequence of a forward


def resolve_folder(source: str) -> Path:
    """The folder that holds the model: `source` itself, or a hub name's files, downloaded unless already there."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or source.startswith((".", "~")):
        raise SetupError(f"{source}: there is no such folder")
    try:
        return Path(snapshot_download(source, allow_patterns=_NEEDED, ignore_patterns=_UNNEEDED))
    except HFValidationError:
        raise SetupError(f"{source}: neither a folder nor a name on the Hugging Face hub") from None
    except GatedRepoError:
        raise SetupError(f"{source}: the hub wants you to accept its terms and log in (hf auth login)") from None
    except RepositoryNotFoundError:
        none = "there is no such folder, and no such model on the Hugging Face hub"
        raise SetupError(f"{source}{_meant(source)}: {none}") from None
    except LocalEntryNotFoundError:
        raise SetupError(
            f"{source}{_meant(source)}: not downloaded yet, and the Hugging Face hub can't be reached; `persona-proxy "
            "models` lists models that come from elsewhere too"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise SetupError(f"{source}: the download failed: {first_line(error)}") from None


def _meant(source: str) -> str:
    """The known model that a name which is none may stand for."""
    begun = [name for name in KNOWN if name.startswith(source.lower())]
    nearly = begun or get_close_matches(source.lower(), KNOWN, n=1)
    return f" (did you mean {nearly[0]!r}?)" if nearly else ""


def choose_device(wanted: str) -> torch.device:
    """`auto` is CUDA, else Apple's MPS, else the CPU. SetupError for one that is not there."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SetupError(f"device {wanted}: this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SetupError("device mps: not available on this machine")
    return device


def choose_dtype(wanted: str, device: torch.device, saved: torch.dtype | str | None = None) -> torch.dtype:
    """`auto` is bfloat16 where the device has it, else float16. On a CPU, where other halves are slow, it is bfloat16
    for weights that are `saved` so, if the processor computes with it (AVX512_BF16), else float32."""
    if wanted != "auto":
        named: torch.dtype = getattr(torch, wanted)
        return named
    if device.type == "cpu":
        return torch.bfloat16 if saved in (torch.bfloat16, "bfloat16") and _cpu_has_bfloat16() else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    try:
        torch.zeros(1, dtype=torch.bfloat16, device=device)
    except (TypeError, RuntimeError):
        return torch.float16
    return torch.bfloat16


def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported()


def load_config(folder: Path) -> PretrainedConfig:
    """The model's configuration."""
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{folder}: its config.json can't be used: {first_line(error)}") from None
    return config


def load_tokenizer(folder: Path) -> Any:
    """The model's tokenizer, which must bring a chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise SetupError(f"{folder}: its tokenizer can't be read: {first_line(error)}") from None
    if not tokenizer.chat_template:
        raise SetupError(f"{folder}: its tokenizer has no chat template; only chat models can be served")
    return tokenizer


def load_network(folder: Path, config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The weights, on their device. Quantised ones stay so where the device can run them, else become `dtype`.

    One model at a time: loading sets the process's default dtype meanwhile.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()  # a log is no place for one
    method = _quantisation(folder, config)
    with one_at_a_time, _in_one_line(folder, device, method):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    network: PreTrainedModel = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise SetupError(f"{folder}: its weights lack {len(missing)} tensors, {missing[0]} among them")
    if network.config._attn_implementation not in ("sdpa", "eager"):
        network.set_attn_implementation("eager")
    if method is not None:
        # Some are made ready by the whole network's first forward, which the engine may begin with its decoder alone.
        with _in_one_line(folder, device, method), torch.no_grad():
            network(torch.zeros(1, 1, dtype=torch.long, device=device))
    return network


def _quantisation(folder: Path, config: PretrainedConfig) -> str | None:
    """How the stored weights are quantised, None where they aren't. SetupError for a way that transformers would
    ignore, taking the stored integers for the weights."""
    stored = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if not stored:
        return None
    method = str(stored.get("quant_method", "an unnamed method"))
    with _in_one_line(folder, torch.device("cpu"), method):
        known = AutoHfQuantizer.supports_quant_method(stored)
    if not known:
        raise SetupError(f"{folder}: its weights are quantised with {method}, which transformers can't read")
    return method


@contextmanager
def _in_one_line(folder: Path, device: torch.device, method: str | None) -> Iterator[None]:
    """Turn what goes wrong with weights, quantised by `method` if at all, into a SetupError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise SetupError(f"{folder}: does not fit into the memory of {device}") from None
    except Exception as error:  # broken files surface as whatever their reader raises
        quantised = "" if method is None else f", quantised with {method},"
        raise SetupError(f"{folder}: its weights{quantised} can't be loaded: {first_line(error)}") from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model, by name. SetupError where there are none, or one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    else:
        files = [folder / "model.safetensors"]
    for file in files:
        if not file.is_file():
            raise SetupError(f"{folder}: {file.name} is missing; models are read from safetensors files")
    return files


def weights_fingerprint(folder: Path) -> str:
    """Hex digest of the stored weights, whatever dtype and device they are loaded to: each file's header and three
    samples of its data, which is quick for any size."""
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as stream:
            prefix = stream.read(8)
            size = file.stat().st_size
            header_size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if header_size > size - 8:
                raise SetupError(f"{file}: is cut off or no safetensors file")
            digest.update(prefix + stream.read(header_size))
            begin, end = 8 + header_size, max(8 + header_size, size - _SAMPLE_BYTES)
            for at in (begin, (begin + end) // 2, end):
                stream.seek(at)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def context_length(config: PretrainedConfig, wanted: int | None) -> int:
    """Tokens of prompt and answer together. A rotary embedding whose frequencies would change with the longest
    sequence in a batch is used up to its original length only, so that answers don't depend on their neighbours."""
    text = config.get_text_config()
    limit: int | None = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    if limit is not None and rope.get("rope_type") in _GROWING_ROPE:
        limit = min(limit, rope.get("original_max_position_embeddings") or limit)
    if limit is None and wanted is None:
        raise SetupError("the model doesn't say how long its context is; set context_length")
    if limit is not None and wanted is not None and wanted > limit:
        raise SetupError(f"context_length {wanted} is more than the model's {limit}")
    return wanted or limit or 0

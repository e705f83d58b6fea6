"""The engine that runs models in this process by transformers, Hugging Face's folders and GGUF files alike.

Each request has its own steering, all in one batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from proxy.engines.base import ModelInfo
from proxy.engines.gguf.file import GgufFile, check_file, file_fingerprint
from proxy.engines.in_process import InProcessEngine, Tasks
from proxy.engines.transformers import loading
from proxy.engines.transformers.batch import DecodingBatch
from proxy.engines.transformers.capture import capture_steps, capture_token_steps
from proxy.engines.transformers.runner import ModelRunner, release_memory
from proxy.engines.transformers.scoring import likelihood_steps, next_token_steps, read_steps, score_steps
from proxy.engines.transformers.text import TokenizerText, Tokenizing
from proxy.engines.worker import Worker
from proxy.settings import ModelSettings


def load(settings: ModelSettings, max_batch: int) -> "TransformersEngine":
    """Load a model and start its worker; takes seconds to minutes. Raises SetupError in one line."""
    device = loading.choose_device(settings.device)
    read = _read_file if settings.source.endswith(".gguf") else _read_folder
    stored = read(settings.source, device, settings.dtype)
    config = stored.config
    context_length = loading.context_length(config, settings.context_length)
    tokenizer = stored.load_tokenizer()
    runner = ModelRunner(stored.load_network())
    info = ModelInfo(
        id=settings.id,
        family=config.model_type,
        n_layers=runner.n_layers,
        hidden_size=runner.hidden_size,
        context_length=context_length,
        fingerprint=stored.fingerprint,
        engine="transformers",
        device=str(device),
        dtype=str(runner.network.dtype).removeprefix("torch."),  # some quantised weights keep their own
        world=getattr(config, "persona_world", None),
        weights_bytes=runner.n_bytes,
    )
    return TransformersEngine(info, runner, tokenizer, max_batch)


@dataclass(frozen=True)
class _Stored:
    """A model that lies on the disk: what is quickly known of it, and how the rest is loaded."""

    config: PretrainedConfig
    fingerprint: str
    load_tokenizer: Callable[[], Any]
    load_network: Callable[[], PreTrainedModel]


def _read_folder(source: str, device: torch.device, wanted: str) -> _Stored:
    folder = loading.resolve_folder(source)
    config = loading.load_config(folder)
    dtype = loading.choose_dtype(wanted, device, config.dtype)
    return _Stored(
        config,
        loading.weights_fingerprint(folder),
        lambda: loading.load_tokenizer(folder),
        lambda: loading.load_network(folder, config, device, dtype),
    )


def _read_file(source: str, device: torch.device, wanted: str) -> _Stored:
    from proxy.engines.transformers import gguf_loading  # not needed for folders

    path = check_file(source)
    file = GgufFile(path)
    config = gguf_loading.load_config(file)
    dtype = loading.choose_dtype(wanted, device)
    tokenizer = gguf_loading.load_tokenizer(file)
    return _Stored(
        config,
        file_fingerprint(path),
        lambda: tokenizer,
        lambda: gguf_loading.load_network(file, config, tokenizer, device, dtype),
    )


TASKS = Tasks(capture_steps, capture_token_steps, score_steps, likelihood_steps, read_steps, next_token_steps)


class TransformersEngine(TokenizerText, InProcessEngine[ModelRunner]):
    """An engine for one model. At most `max_batch` answers run at once; the others wait their turn."""

    def __init__(self, info: ModelInfo, runner: ModelRunner, tokenizer: Any, max_batch: int) -> None:
        eos = runner.network.generation_config.eos_token_id
        text = Tokenizing(tokenizer, runner.vocabulary, eos if isinstance(eos, list) else [eos])
        batch = DecodingBatch(runner, text.speaker.stops, info.context_length, max_batch)
        worker = Worker(info.id, runner, batch, torch.inference_mode(), partial(release_memory, runner.device))
        super().__init__(info, text.lexicon, text.speaker, worker, TASKS, text.bound, text.markers)
        self._use(text)

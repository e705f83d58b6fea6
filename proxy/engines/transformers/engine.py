"""The engine that runs models in this process by transformers, Hugging Face's folders and GGUF files alike.

Each request has its own steering, all in one batch.
"""

import copy
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jinja2
import torch
from llguidance.hf import from_tokenizer
from transformers import PretrainedConfig, PreTrainedModel

from proxy.engines.base import Message, ModelInfo, Tool
from proxy.engines.errors import Refusal
from proxy.engines.gguf.file import GgufFile, check_file, file_fingerprint
from proxy.engines.in_process import InProcessEngine, Tasks
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.lexicon import Lexicon
from proxy.engines.text.speech import Speaker
from proxy.engines.text.token_bound import TokenBound
from proxy.engines.text.typed_markers import Marker, Markers, any_of, apart, is_tag
from proxy.engines.transformers import loading
from proxy.engines.transformers.batch import DecodingBatch
from proxy.engines.transformers.capture import capture_steps, capture_token_steps
from proxy.engines.transformers.runner import ModelRunner, release_memory
from proxy.engines.transformers.scoring import likelihood_steps, next_token_steps, read_steps, score_steps
from proxy.engines.worker import Worker
from proxy.settings import ModelSettings


def load(settings: ModelSettings, max_batch: int) -> "TransformersEngine":
    """Load a model and start its worker; takes seconds to minutes. Raises SetupError in one line."""
    device = loading.choose_device(settings.device)
    dtype = loading.choose_dtype(settings.dtype, device)
    read = _read_file if settings.source.endswith(".gguf") else _read_folder
    stored = read(settings.source, device, dtype)
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


def _read_folder(source: str, device: torch.device, dtype: torch.dtype) -> _Stored:
    folder = loading.resolve_folder(source)
    config = loading.load_config(folder)
    return _Stored(
        config,
        loading.weights_fingerprint(folder),
        lambda: loading.load_tokenizer(folder),
        lambda: loading.load_network(folder, config, device, dtype),
    )


def _read_file(source: str, device: torch.device, dtype: torch.dtype) -> _Stored:
    from proxy.engines.transformers import gguf_loading  # not needed for folders

    path = check_file(source)
    file = GgufFile(path)
    config = gguf_loading.load_config(file)
    tokenizer = gguf_loading.load_tokenizer(file)
    return _Stored(
        config,
        file_fingerprint(path),
        lambda: tokenizer,
        lambda: gguf_loading.load_network(file, config, tokenizer, device, dtype),
    )


TASKS = Tasks(capture_steps, capture_token_steps, score_steps, likelihood_steps, read_steps, next_token_steps)


class TransformersEngine(InProcessEngine[ModelRunner]):
    """An engine for one model. At most `max_batch` answers run at once; the others wait their turn."""

    def __init__(self, info: ModelInfo, runner: ModelRunner, tokenizer: Any, max_batch: int) -> None:
        eos = runner.network.generation_config.eos_token_id
        self._tokenizer = tokenizer
        self._encoding = threading.Lock()  # a fast tokenizer can't be used by two threads at once
        speaker = Speaker(copy.deepcopy(tokenizer), eos if isinstance(eos, list) else [eos], _template(tokenizer))
        self._special = speaker.special
        batch = DecodingBatch(runner, speaker.stops, info.context_length, max_batch)
        worker = Worker(info.id, runner, batch, torch.inference_mode(), partial(release_memory, runner.device))
        n_tokens = runner.vocabulary
        lexicon = Lexicon(
            lambda: from_tokenizer(tokenizer, max(n_tokens, len(tokenizer)), sorted(speaker.stops)),
            n_tokens,
            speaker.special,
            speaker.stops,
            speaker.tags,
            speaker.calls,
        )
        super().__init__(info, lexicon, speaker, worker, TASKS, _bound(tokenizer), _markers(tokenizer))
        self._tags = any_of(text for text, marker in self._markers.known.items() if marker.tag)
        self._begins_apart = self._begins_texts_apart()

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool] | None, **extra: Any) -> str:
        try:
            with self._encoding:
                text: str = self._tokenizer.apply_chat_template(
                    list(messages),
                    tools=list(tools) if tools else None,
                    add_generation_prompt=True,
                    tokenize=False,
                    **extra,
                )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise Refusal(f"the model's chat template refuses: {error}", "prompt") from error
        return text

    def _tokenize(self, text: str) -> list[int]:
        with self._encoding:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    @property
    def _first_id(self) -> int | None:
        with self._encoding:
            ids: list[int] = self._tokenizer.encode("", add_special_tokens=True)
        return ids[0] if ids and ids[0] == self._tokenizer.bos_token_id else None

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without markers."""
        first, *others = apart(text, self._tags)
        return [*self._encode(first), *(id_ for piece in others for id_ in self._encode_on(piece))]

    def _encode(self, text: str) -> list[int]:
        """The ids of plain text that has no tags."""
        with self._encoding:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids

    def _encode_on(self, text: str) -> list[int]:
        if not self._begins_apart:
            return self.encode(text)
        begun, ids = self.encode("\n"), self.encode("\n" + text)
        return ids[len(begun) :] if ids[: len(begun)] == begun else self.encode(text)

    def _begins_texts_apart(self) -> bool:
        """Whether the tokenizer puts a blank before a text's beginning, and none behind a special token."""
        for text, marker in self._markers.known.items():
            return self._tokenize(text + "a") != [marker.id, *self.encode("a")]
        return False

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """What each token adds to a text, whole characters only."""
        with self._encoding:
            detokenizer = Detokenizer(self._tokenizer, self._special)
            return [detokenizer.add(token) for token in token_ids]


def _template(tokenizer: Any) -> str:
    """All of the chat template, where it has several parts."""
    template = tokenizer.chat_template
    return template if isinstance(template, str) else "".join(template.values())


def _markers(tokenizer: Any) -> Markers:
    template = _template(tokenizer)
    return Markers(
        {
            it.content: Marker(id_, it.lstrip, it.rstrip, tag=not it.special)
            for id_, it in tokenizer.added_tokens_decoder.items()
            if it.special or is_tag(it.content, template)
        }
    )


def _bound(tokenizer: Any) -> TokenBound | None:
    """None for tokenizers that may leave something of a text out, or put another in its place."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    cut = state["pre_tokenizer"] or {}
    kinds = {part["type"] for part in cut.get("pretokenizers", [cut]) if part}
    composed = (state["normalizer"] or {}).get("type") == "NFC"
    if not (state["normalizer"] is None or composed) or "ByteLevel" not in kinds:
        return None
    if any(added["lstrip"] or added["rstrip"] for added in state["added_tokens"]):
        return None
    # A letter stands for a byte. In UTF-8 some are longer than that, so that the bound is lower than it might be.
    return TokenBound((text.replace("Ġ", " ").encode() for text in tokenizer.get_vocab()), composed=composed)

"""The engine that runs GGUF models in this process, by llama.cpp: each request with its own steering, in one batch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from proxy.engines.base import Message, ModelInfo, Tool
from proxy.engines.gguf.file import check_file, file_fingerprint
from proxy.engines.in_process import InProcessEngine, Tasks
from proxy.engines.llama_cpp.batch import MOST_PIECE, LlamaBatch
from proxy.engines.llama_cpp.capture import (
    capture_steps,
    capture_token_steps,
    likelihood_steps,
    next_token_steps,
    read_steps,
    score_steps,
)
from proxy.engines.llama_cpp.context import Context
from proxy.engines.llama_cpp.library import llama
from proxy.engines.llama_cpp.model import LlamaModel, context_length
from proxy.engines.llama_cpp.turns import ComputingThread
from proxy.engines.llama_cpp.vocabulary import Vocabulary, template_of
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.lexicon import Lexicon
from proxy.engines.text.speech import Speaker
from proxy.engines.worker import Worker
from proxy.errors import SetupError
from proxy.settings import ModelSettings

SHARED_TOKENS = 32768  # room for this many is taken, if so many can be under way: all answers share it


def load(settings: ModelSettings, max_batch: int) -> "LlamaEngine":
    """Load a GGUF file and start its worker; takes seconds to minutes. Raises SetupError in one line.

    The settings' dtype means nothing here: weights are used as they are stored.
    """
    file = check_file(settings.source)
    without_weights = LlamaModel(file, vocabulary_only=True)
    template_of(without_weights)  # where there is none, it is known before the weights are read
    # While llama.cpp makes room, which takes as long, Python is free.
    with ThreadPoolExecutor(1, "words") as beside:
        words = beside.submit(_Words, without_weights)
        info, model, context, n_seats = _loaded(file, settings, max_batch)
    return LlamaEngine(info, model, context, words.result(), n_seats)


def _loaded(file: Path, settings: ModelSettings, max_batch: int) -> tuple[ModelInfo, LlamaModel, Context, int]:
    """The weights, and room for answers, of which so many run at once."""
    model = LlamaModel(file, settings.device)
    if not model.keeps_all_positions:
        raise SetupError(f"{file}: recurrent models are not supported")
    length = context_length(model.trained_length, settings.context_length)
    # One answer of full length always fits.
    n_seats = min(max_batch, llama.llama_max_parallel_sequences())
    n_cells = max(length, min(n_seats * length, SHARED_TOKENS))
    context = Context(model, n_cells, n_seats, MOST_PIECE + n_seats, n_seats)
    model.trimmed_block = context.find_trimmed_block()
    info = ModelInfo(
        id=settings.id,
        family=model.metadata("general.architecture") or "unknown",
        n_layers=model.n_layers,
        hidden_size=model.hidden_size,
        context_length=length,
        fingerprint=file_fingerprint(file),
        engine="llama_cpp",
        device=model.device,
        dtype=model.precision,
        world=model.metadata("persona.world"),
        weights_bytes=model.n_bytes,
    )
    return info, model, context, n_seats


class _Words:
    """What is made of a vocabulary before an engine can answer."""

    def __init__(self, model: LlamaModel) -> None:
        self.vocabulary = vocabulary = Vocabulary(model)
        self.bound = vocabulary.bound
        self.markers = vocabulary.markers
        self.speaker = Speaker(vocabulary, vocabulary.end_ids, vocabulary.template)
        self.lexicon = Lexicon(
            vocabulary.to_bytes,
            vocabulary.size,
            self.speaker.special,
            self.speaker.stops,
            self.speaker.tags,
            self.speaker.calls,
        )


TASKS = Tasks(capture_steps, capture_token_steps, score_steps, likelihood_steps, read_steps, next_token_steps)


class LlamaEngine(InProcessEngine[LlamaModel]):
    """An engine for one GGUF model. At most `n_seats` answers run at once; the others wait their turn."""

    def __init__(self, info: ModelInfo, model: LlamaModel, context: Context, words: _Words, n_seats: int) -> None:
        self._vocabulary = words.vocabulary
        self._special = words.speaker.special
        batch = LlamaBatch(context, words.speaker.stops, info.context_length, n_seats)
        place = ComputingThread() if model.device == "cpu" else None
        # The worker alone refers to the weights: they go with it.
        worker = Worker(info.id, model, batch, nullcontext(), lambda: None, place)
        super().__init__(info, words.lexicon, words.speaker, worker, TASKS, words.bound, words.markers)

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool] | None, **extra: Any) -> str:
        return self._vocabulary.write(messages, tools, **extra)

    def _tokenize(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text)

    @property
    def _first_id(self) -> int | None:
        return self._vocabulary.first_id

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens."""
        return self._vocabulary.encode(text)

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """What each token adds to a text, whole characters only."""
        detokenizer = Detokenizer(self._vocabulary, self._special)
        return [detokenizer.add(token) for token in token_ids]

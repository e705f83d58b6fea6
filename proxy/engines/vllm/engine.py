"""The engine that has vLLM run a model, in processes of its own: each request with its own steering, in one batch."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from transformers import GenerationConfig, PretrainedConfig

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import (
    AnswerReadings,
    FloatArray,
    Likelihood,
    ModelInfo,
    Plan,
    Rollout,
    Run,
    Span,
    SpanStats,
)
from proxy.engines.checks import check_blocks, check_plan, check_tokens
from proxy.engines.transformers import loading
from proxy.engines.transformers.text import TokenizerText, Tokenizing
from proxy.engines.vllm.library import check_library
from proxy.engines.vllm.orders import OPTIONS
from proxy.engines.vllm.plugin import EXTENSION, RULES
from proxy.errors import SetupError, first_line
from proxy.settings import ModelSettings

logger = logging.getLogger(__name__)
T = TypeVar("T")
Progress = Callable[[int], None] | None

CPU_CHUNK = 512  # tokens of a step that reads prompts, which running answers wait for
CPU_BLOCK = 32  # tokens of what is kept of prompts together
CPU_SHARED_TOKENS = 32768  # room for this many is taken, if so many can be under way: all answers share it


def load(settings: ModelSettings, max_batch: int, **more: Any) -> "VllmEngine":
    """Have vLLM load a model; takes seconds to minutes. `more` are arguments of vLLM's. Raises SetupError in one
    line."""
    check_library()
    if settings.source.endswith(".gguf"):
        raise SetupError(f"{settings.source}: engine vllm runs folders and hub names; GGUF files run in llama_cpp")
    from proxy.engines.vllm.conductor import Conductor

    folder = loading.resolve_folder(settings.source)
    config = loading.load_config(folder)
    tokenizer = loading.load_tokenizer(folder)
    length = loading.context_length(config, settings.context_length)
    arguments = {**_arguments(settings, folder, config, length, max_batch), **more}
    try:
        conductor = Conductor(settings.id, arguments)
    except Exception as error:
        logger.debug("vLLM can't load %s", folder, exc_info=True)
        raise SetupError(f"{folder}: vLLM can't load it: {first_line(error)}") from None
    text_config = config.get_text_config()
    facts = conductor.facts
    info = ModelInfo(
        id=settings.id,
        family=config.model_type,
        n_layers=facts["n_blocks"],
        hidden_size=facts["hidden"],
        context_length=length,
        fingerprint=loading.weights_fingerprint(folder),
        engine="vllm",
        device=facts["device"],
        dtype=facts["dtype"],
        world=getattr(config, "persona_world", None),
        weights_bytes=facts["n_bytes"],
    )
    return VllmEngine(info, Tokenizing(tokenizer, text_config.vocab_size, _ends(folder, config)), conductor)


def _arguments(
    settings: ModelSettings, folder: Path, config: PretrainedConfig, length: int, max_batch: int
) -> dict[str, Any]:
    """AsyncEngineArgs for a model. SetupError for a device that vLLM was not built for."""
    from vllm.platforms import current_platform

    device: str = current_platform.device_type
    if settings.device not in ("auto", device):
        raise SetupError(f"device {settings.device}: this vLLM runs on {device}; name that, or auto")
    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(folder),
        "dtype": "float32" if settings.dtype == "auto" and device == "cpu" else settings.dtype,
        "max_model_len": length,
        "max_num_seqs": max_batch,
        "max_logprobs": -1,
        "enforce_eager": True,  # what is done to each token is told in Python, which recorded steps would leave out
        "async_scheduling": False,  # what was said decides how the next token is steered, and which may be next
        "enable_prefix_caching": True,
        "worker_extension_cls": EXTENSION,
        "additional_config": {OPTIONS: {}},
        "logits_processors": [RULES],
        "disable_log_stats": True,
        "hf_overrides": _overrides(config),
    }
    if device == "cpu":
        arguments |= {
            "block_size": CPU_BLOCK,
            "max_num_batched_tokens": max(CPU_CHUNK, max_batch),
            "kv_cache_memory_bytes": _cache_bytes(config, arguments["dtype"], length, max_batch),
        }
    return arguments


def _overrides(config: PretrainedConfig) -> dict[str, Any]:
    """vLLM takes GPT-OSS's positions to be stretched by YaRN; by a factor of 1 they stay as they are."""
    rope = getattr(config, "rope_parameters", None) or {}
    if config.model_type != "gpt_oss" or rope.get("rope_type") == "yarn":
        return {}
    still = {"rope_type": "yarn", "factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
    length = config.max_position_embeddings
    return {"rope_parameters": {**rope, **still, "original_max_position_embeddings": length}}


def _cache_bytes(config: PretrainedConfig, dtype: str, length: int, max_batch: int) -> int:
    """Of memory, for keys and values: one answer of full length always fits."""
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    n_tokens = max(length, min(max_batch * length, CPU_SHARED_TOKENS)) + CPU_BLOCK * (max_batch + 1)
    bytes_each = 4 if dtype == "float32" else 2
    return int(2 * text.num_hidden_layers * heads * head * bytes_each * n_tokens)


def _ends(folder: Path, config: PretrainedConfig) -> list[int]:
    """The tokens that the model's generation settings call ends."""
    try:
        settings = GenerationConfig.from_pretrained(folder)
    except OSError:
        settings = GenerationConfig.from_model_config(config)
    eos = settings.eos_token_id
    return list(eos) if isinstance(eos, list) else [eos]


class VllmEngine(TokenizerText):
    """An engine for one model. At most as many answers run at once as it was loaded for; the others wait their turn."""

    def __init__(self, info: ModelInfo, text: Tokenizing, conductor: Any) -> None:
        super().__init__(info, text.lexicon, text.speaker, text.bound, text.markers)
        self._use(text)
        self._conductor = conductor
        conductor.begin(text.speaker.stops, info.context_length)

    @property
    def cached_bytes(self) -> int:
        """0: vLLM takes its memory for keys and values when it starts, whatever lies in it."""
        return 0

    def _hand_in(self, answer: RunningAnswer) -> Run:
        run: Run = self._conductor.start(answer)
        return run

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Progress = None
    ) -> dict[Span, SpanStats]:
        """Mean residuals of texts at every block, by span; blocks the caller. Raises ModelFailed when the model
        fails."""
        self._check_rollouts(rollouts)
        shape = self._info.n_layers, self._info.hidden_size
        return self._do(lambda read, conductor: read.capture(conductor, rollouts, spans, *shape, progress))

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        """Residuals of texts token by token, float32[n_tokens, n_blocks, hidden] each; blocks. Raises ModelFailed when
        the model fails."""
        self._check_rollouts(rollouts)
        check_blocks(blocks, self._info)
        hidden = self._info.hidden_size
        return self._do(lambda read, conductor: read.capture_tokens(conductor, rollouts, span, blocks, hidden))

    def score(
        self, rollouts: Sequence[Rollout], plans: Sequence[Plan] | None = None, progress: Progress = None
    ) -> list[FloatArray]:
        """Log-probabilities of every response token, each text under its own plan; blocks. Raises ModelFailed when the
        model fails."""
        self._check_rollouts(rollouts)
        plans = self._checked([Plan()] * len(rollouts) if plans is None else plans)
        return self._do(lambda read, conductor: read.score(conductor, rollouts, plans, progress))

    def likelihoods(
        self,
        texts: Sequence[Sequence[int]],
        plans: Sequence[Plan],
        n_top: int,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[list[Likelihood]]:
        """Of each text, every token but the first, with the `n_top` likeliest; blocks. Raises ModelFailed when the
        model fails."""
        self._check_rollouts([Rollout(text) for text in texts])
        self._checked(plans)
        return self._do(lambda read, conductor: read.likelihoods(conductor, texts, plans, n_top, given_up))

    def read(self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Progress = None) -> AnswerReadings:
        """Mean residuals over the responses at some blocks, and log-probabilities of the responses; blocks. Raises
        ModelFailed when the model fails."""
        self._check_rollouts(rollouts)
        check_blocks(blocks, self._info)
        hidden = self._info.hidden_size
        found: AnswerReadings = self._do(
            lambda read, conductor: read.read(conductor, rollouts, blocks, hidden, progress)
        )
        return found

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        """Log-probabilities of tokens right after prompts, float32[n_prompts, n_token_ids]; blocks. Raises ModelFailed
        when the model fails."""
        self._check_rollouts([Rollout(prompt) for prompt in prompts])
        return self._do(lambda read, conductor: read.next_token_logprobs(conductor, prompts, token_ids))

    def _do(self, work: Callable[[Any, Any], Coroutine[Any, Any, T]]) -> T:
        """A coroutine of `reading`, done on vLLM's loop."""
        from proxy.engines.vllm import reading

        found: T = self._conductor.call(lambda conductor: work(reading, conductor))
        return found

    def _check_rollouts(self, rollouts: Sequence[Rollout]) -> None:
        """vLLM has no text that leaves no room for a token more."""
        for rollout in rollouts:
            check_tokens([*rollout.prompt, *rollout.response], self._info, self._n_tokens, room=1)

    def _checked(self, plans: Sequence[Plan]) -> Sequence[Plan]:
        for plan in plans:
            check_plan(plan, self._info)
        return plans

    def close(self) -> None:
        """End vLLM's processes, and give the model's memory back."""
        self._conductor.close()

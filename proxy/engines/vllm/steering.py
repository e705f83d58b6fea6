"""One model in one of vLLM's workers, made ready to be steered: the operation behind each block, and who is steered.

Knows the shape of vLLM's models and configuration, and nothing of its runners.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Event, Generation
from proxy.engines.speaking import answer_of
from proxy.engines.transformers import loading
from proxy.engines.transformers.hooks import find_blocks
from proxy.engines.transformers.text import Tokenizing
from proxy.engines.vllm import op
from proxy.engines.vllm.captures import Captures
from proxy.engines.vllm.orders import OPTIONS
from proxy.engines.vllm.residents import ProbeReading, Residents
from proxy.engines.vllm.table import ProgramTable

SLOTS, DIRECTIVES = 4096, 1024


class Steering:
    """What a runner keeps of us. RuntimeError for a model or a way to run it that can't be steered."""

    def __init__(self, config: Any, model: nn.Module, device: torch.device) -> None:
        _check(config)
        options = config.additional_config[OPTIONS]
        text_config = config.model_config.hf_text_config
        self.n_blocks: int = text_config.num_hidden_layers
        self.hidden: int = text_config.hidden_size
        self.model = model
        table = ProgramTable(
            self.n_blocks, self.hidden, options.get("slots", SLOTS), options.get("directives", DIRECTIVES), device
        )
        self.desk = op.Desk(table, self.n_blocks, config.scheduler_config.max_num_batched_tokens, device)
        self.residents = Residents(self.desk, self._begin)
        self.captures = Captures(self.hidden)
        self._text: Tokenizing | None = None
        self._folder: str = config.model_config.tokenizer
        self._vocabulary: int = config.model_config.get_vocab_size()
        self._tell: Any = None
        for block, layer in enumerate(find_blocks(model, self.n_blocks)):
            layer.register_forward_hook(_hook(self.desk.number, block))

    @property
    def text(self) -> Tokenizing:
        """Of the model's tokenizer, which is read when it is first needed."""
        if self._text is None:
            tokenizer = loading.load_tokenizer(loading.resolve_folder(self._folder))
            self._text = Tokenizing(tokenizer, self._vocabulary, ())
        return self._text

    def _begin(self, generation: Generation) -> RunningAnswer:
        return answer_of(generation, self.text.speaker, self.text.lexicon, _nobody)

    def listen(self, tell: Any) -> None:
        """From now on readings are told to `tell`, a list of them after each step that has any."""
        self._tell = tell

    def add(self, name: str, extra: Mapping[str, Any] | None, prompt: Sequence[int]) -> None:
        """A request comes."""
        self.residents.add(name, extra, prompt)
        self.captures.add(name, extra)

    def drop(self, names: Collection[str]) -> None:
        """Requests have ended."""
        self.residents.drop(names)
        self.captures.drop(names)

    def begin(
        self,
        names: Sequence[str],
        counts: Sequence[int],
        starts: Sequence[int],
        tokens: Callable[[str], Sequence[int]],
    ) -> None:
        """A step begins: so many tokens of each request, from a position on, in this order. `tokens` are those that a
        request has generated."""
        self.residents.begin(names, counts, starts, tokens)
        self.captures.begin(names, counts, starts)
        self.desk.reader = self.captures.take if self.captures.busy else None

    def end(self) -> None:
        """A step is over."""
        self.desk.reader = None
        self.captures.end()
        readings: list[ProbeReading] = self.residents.end()
        if readings and self._tell is not None:
            self._tell(readings)

    @property
    def n_bytes(self) -> int:
        """Of memory, for the weights."""
        return sum(weights.numel() * weights.element_size() for weights in self.model.parameters())


def _nobody(event: Event) -> None:
    """Nobody listens to the answers that workers follow."""


def _hook(desk: int, block: int) -> Any:
    def hook(module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, tuple) and len(output) == 2:
            op.steer(output[0], output[1], desk, block)
        elif isinstance(output, torch.Tensor):
            op.steer(output, None, desk, block)
        else:
            raise RuntimeError(f"{type(module).__name__} gives on what can't be steered: {type(output).__name__}")

    return hook


def _check(config: Any) -> None:
    """RuntimeError for ways to run a model in which rows are not where they seem, or that were never tried."""
    parallel, passes = config.parallel_config, config.compilation_config.pass_config
    wrong = {
        "speculative decoding": config.speculative_config is not None,
        "sequence parallelism": bool(getattr(passes, "enable_sp", False)),
        "dual-batch overlap": bool(parallel.enable_dbo),
        "pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "prefill or decode context parallelism": parallel.decode_context_parallel_size > 1
        or getattr(parallel, "prefill_context_parallel_size", 1) > 1,
        "asynchronous scheduling": bool(config.scheduler_config.async_scheduling),
    }
    if found := [name for name, there in wrong.items() if there]:
        raise RuntimeError(f"personas can't be steered with vLLM's {' and '.join(found)}; turn that off")

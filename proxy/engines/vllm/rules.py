"""Keeps answers to their schemas and calls in vLLM's workers, as a logits processor of its V1 runner, and, before they
get there, has requests for personas refused that no worker could run.

vLLM's own structured outputs know no channels, no answers that have begun, and not every schema that we keep to. Here
the workers follow each such answer as the server does, and forbid what may not come next.
"""

from typing import Any

import msgspec
import torch
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Event
from proxy.engines.speaking import answer_of
from proxy.engines.transformers import loading
from proxy.engines.transformers.text import Tokenizing
from proxy.engines.vllm import admission
from proxy.engines.vllm.orders import ANSWER, PLAN, generation_of


class Rules(AdapterLogitsProcessor):  # type: ignore[misc]  # where vLLM is not installed
    """For the answers of one worker. What is not allowed can't be drawn; where nothing is, something is drawn that the
    server takes for that."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._model = vllm_config.model_config
        self._text: Tokenizing | None = None

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """vLLM's own place to refuse a request. It is asked in the server's process."""
        try:
            admission.check(sampling_params.extra_args)
        except admission.NotAdmitted as error:
            raise VLLMValidationError(str(error), parameter=PLAN) from None

    def is_argmax_invariant(self) -> bool:
        """Never: the likeliest token may be forbidden."""
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Any:
        """One for each request that has rules; None for others."""
        extra = params.extra_args or {}
        if ANSWER not in extra:
            return None
        told = msgspec.json.decode(extra[ANSWER])
        return _Rule(self._tokenizing(), extra) if "schema" in told or "calls" in told else None

    def _tokenizing(self) -> Tokenizing:
        if self._text is None:
            tokenizer = loading.load_tokenizer(loading.resolve_folder(self._model.tokenizer))
            self._text = Tokenizing(tokenizer, self._model.get_vocab_size(), ())
        return self._text


class _Rule:
    """One answer's. vLLM makes it anew where the answer was set back, with all that it had said."""

    def __init__(self, text: Tokenizing, extra: dict[str, Any]) -> None:
        self._text = text
        self._extra = extra
        self._answer: RunningAnswer | None = None

    def __call__(self, prompt: list[int], said: list[int], logits: torch.Tensor) -> torch.Tensor:
        if self._answer is None:
            generation = generation_of(self._extra, prompt)
            self._answer = answer_of(generation, self._text.speaker, self._text.lexicon, _nobody)
        self._answer.hear(said)
        allowed = self._answer.allowed()
        if allowed is None:
            return logits
        forbidden = torch.ones(len(logits), dtype=torch.bool)
        forbidden[: len(allowed)] = torch.from_numpy(~allowed)
        if bool(forbidden.all()):
            return logits
        return logits.masked_fill(forbidden.to(logits.device), -torch.inf)


def _nobody(event: Event) -> None:
    """Nobody listens to the answers that workers follow."""

"""Draws one answer's tokens by llama.cpp's own samplers, from a generator of its own.

Knows nothing of models or requests.
"""

import hashlib
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from proxy.engines.base import FloatArray, Sampling
from proxy.engines.llama_cpp.library import llama
from proxy.engines.text.lexicon import BoolArray

_COLDEST = 1e-6  # below it a division overflows, and the likeliest token is certain anyway
_ALWAYS_KEPT = 1
_SEEDS = 2**32 - 1  # the one above them all asks llama.cpp for a fresh seed


class Sampler:
    """One answer's rules and history.

    In the order of `proxy.engines.transformers.sampler`: the repetition penalty, over prompt and answer; frequency and
    presence penalties, OpenAI's, over the answer alone; the bias; temperature, top_k, top_p and min_p. `allowed` tells
    which tokens the next draw may take, None for all.
    """

    def __init__(
        self,
        rules: Sampling,
        prompt: Sequence[int],
        n_tokens: int,
        context_length: int,
        allowed: Callable[[], BoolArray | None] | None = None,
    ) -> None:
        self._allowed = allowed
        links: list[Any] = []
        if rules.repetition_penalty != 1.0:
            remembered = llama.llama_sampler_init_penalties(n_tokens, context_length, rules.repetition_penalty, 0, 0)
            for token in set(prompt):
                llama.llama_sampler_accept(remembered, token)
            links.append(remembered)
        if rules.frequency_penalty or rules.presence_penalty:
            penalties = (1.0, rules.frequency_penalty, rules.presence_penalty)
            links.append(llama.llama_sampler_init_penalties(n_tokens, context_length, *penalties))
        if rules.logit_bias:
            pairs = [llama.llama_logit_bias(token, bias) for token, bias in rules.logit_bias.items()]
            array = (llama.llama_logit_bias * len(pairs))(*pairs)
            links.append(llama.llama_sampler_init_logit_bias(n_tokens, len(pairs), array))
        self._chain: Any = None  # none is needed where the likeliest token is taken as it is
        if rules.temperature > 0:
            links += _draw(rules, n_tokens)
        elif links:
            links.append(llama.llama_sampler_init_greedy())
        if links:
            self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
            weakref.finalize(self, llama.llama_sampler_free, self._chain)
            for link in links:
                llama.llama_sampler_chain_add(self._chain, link)

    def draw(self, context: Any, index: int, logits: FloatArray) -> int:
        """The next token, from the logits float32[vocabulary] of the batch's token `index`: the native `context`'s own
        memory, in which those not allowed are overwritten. -1 where one of them is not a number, or none is allowed."""
        allowed = None if self._allowed is None else self._allowed()
        if allowed is not None:
            logits[~allowed] = -np.inf
        best = int(logits.argmax())
        if not math.isfinite(logits[best]):
            return -1
        if self._chain is None:
            return best
        token: int = llama.llama_sampler_sample(self._chain, context, index)
        return token


def _draw(rules: Sampling, n_tokens: int) -> list[Any]:
    links = [llama.llama_sampler_init_temp(max(rules.temperature, _COLDEST))]
    if rules.top_k > 0:
        links.append(llama.llama_sampler_init_top_k(min(rules.top_k, n_tokens)))
    if rules.top_p < 1:
        links.append(llama.llama_sampler_init_top_p(rules.top_p, _ALWAYS_KEPT))
    if rules.min_p > 0:
        links.append(llama.llama_sampler_init_min_p(rules.min_p, _ALWAYS_KEPT))
    seed = llama.LLAMA_DEFAULT_SEED if rules.seed is None else _narrow(rules.seed)
    return [*links, llama.llama_sampler_init_dist(seed)]


def _narrow(seed: int) -> int:
    """A seed that llama.cpp has room for: all bits of a larger one count."""
    if 0 <= seed < _SEEDS:
        return seed
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest()) % _SEEDS

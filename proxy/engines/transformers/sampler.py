"""Draws the next token of every row of a batch, each by its own rules and from its own generator.

Every row's draw depends on its own logits, history and seed alone, never on its neighbours, and the global generator
is never touched. Knows nothing of models or requests.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from proxy.engines.base import Sampling
from proxy.engines.text.lexicon import BoolArray

CANDIDATES = 1024  # tokens: what top_p and min_p keep is nearly always among so many, and sorting all costs more
STRETCH = 128  # tokens; divides most vocabularies
_COLDEST = 1e-6  # below it a division overflows, and the likeliest token is certain anyway


class Sampler:
    """One answer's rules and history: its seed's generator and the counts the penalties need. `allowed` tells which
    tokens the next draw may take, None for all."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        vocabulary: int,
        device: torch.device,
        allowed: Callable[[], BoolArray | None] | None = None,
    ) -> None:
        self.sampling = sampling
        self._allowed = allowed
        seed = None if sampling.seed is None else sampling.seed % 2**64
        self._generator = np.random.default_rng(seed)
        self._number: float | None = None  # the next in its sequence, where it was looked at and no token recorded yet
        self._counts = self._seen = self._bias = None
        if sampling.frequency_penalty or sampling.presence_penalty:
            self._counts = torch.zeros(vocabulary, device=device)
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._seen[torch.tensor(list(prompt), dtype=torch.long, device=device)] = True
        if sampling.logit_bias:
            self._bias = (
                torch.tensor(list(sampling.logit_bias), device=device),
                torch.tensor(list(sampling.logit_bias.values()), dtype=torch.float32, device=device),
            )

    @property
    def adjusts(self) -> bool:
        """Whether the logits change before the draw."""
        return any(rule is not None for rule in (self._counts, self._seen, self._bias, self._allowed))

    def adjust(self, logits: torch.Tensor) -> None:
        """Apply penalties, bias and what is not allowed to float32[vocabulary], in place.

        The repetition penalty is that of Keskar et al. 2019 over prompt and answer; frequency and presence are
        OpenAI's, over the answer alone.
        """
        rules = self.sampling
        if self._seen is not None:
            factor = rules.repetition_penalty
            punished = torch.where(logits > 0, logits / factor, logits * factor)
            torch.where(self._seen, punished, logits, out=logits)
        if self._counts is not None:
            logits -= rules.frequency_penalty * self._counts + rules.presence_penalty * (self._counts > 0)
        if self._bias is not None:
            ids, values = self._bias
            logits[ids] += values
        allowed = None if self._allowed is None else self._allowed()
        if allowed is not None:
            logits.masked_fill_(torch.from_numpy(~allowed).to(logits.device), -torch.inf)

    def record(self, token: int) -> None:
        """The token was drawn: the next draw's penalties count it, and it takes the next number."""
        self._number = None
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True

    def uniform(self) -> float:
        """The next number in [0, 1) of this answer's own sequence: the same until a token is recorded, so that a draw
        may be done again."""
        if self._number is None:
            self._number = float(self._generator.random())
        return self._number


class Draw:
    """The vectorised draw for one batch of samplers; make a new one whenever the batch changes."""

    def __init__(self, samplers: Sequence[Sampler], device: torch.device) -> None:
        self.samplers = samplers
        rules = [sampler.sampling for sampler in samplers]
        self._adjusted = [row for row, sampler in enumerate(samplers) if sampler.adjusts]
        self._drawn = [row for row, rule in enumerate(rules) if rule.temperature > 0]
        self._all_drawn = len(self._drawn) == len(rules)
        drawn = [rules[row] for row in self._drawn]
        self._rows = torch.tensor(self._drawn, dtype=torch.long, device=device)
        self._temperature = _column([max(rule.temperature, _COLDEST) for rule in drawn], device)
        cut = [row for row, rule in enumerate(drawn) if rule.top_p < 1 or rule.top_k > 0 or rule.min_p > 0]
        self._cut = torch.tensor(cut, dtype=torch.long, device=device)
        self._top_p = _column([drawn[row].top_p for row in cut], device)
        self._min_p = _column([drawn[row].min_p for row in cut], device)
        top_k = [drawn[row].top_k or torch.iinfo(torch.int64).max for row in cut]
        self._widest = max((drawn[row].top_k for row in cut), default=0)
        self._top_k = torch.tensor(top_k, dtype=torch.long, device=device)[:, None]
        self._precision = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64

    def __call__(self, logits: torch.Tensor) -> list[int]:
        """One token id a row from [n_rows, vocabulary], which is left as it is; -1 where the logits hold a number that
        is not finite, or no token is allowed."""
        logits = logits.float()
        if self._adjusted:
            logits = logits.clone()
            for row in self._adjusted:
                self.samplers[row].adjust(logits[row])
        best, tokens = logits.max(dim=-1)
        if self._drawn:
            drawn, highest = (logits, best) if self._all_drawn else (logits[self._rows], best[self._rows])
            scaled = (drawn - highest[:, None]).div_(self._temperature)
            tokens[self._rows] = self._invert(self._trim(scaled))
        ids: list[int] = torch.where(torch.isfinite(best), tokens, -1).tolist()
        for sampler, token in zip(self.samplers, ids, strict=True):
            if token >= 0:
                sampler.record(token)
        return ids

    def _trim(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits with what top_k, then top_p, then min_p leave out at minus infinity. A tie at the edge stays."""
        if not len(self._cut):
            return logits
        everyone = len(self._cut) == len(logits)
        concerned = logits if everyone else logits[self._cut]
        width = concerned.shape[-1]
        edge, sure = self._edges(concerned, min(max(CANDIDATES, self._widest), width))
        if not sure.all():  # a flat distribution: what is kept goes on beyond the candidates
            edge = torch.where(sure, edge, self._edges(concerned, width)[0])
        concerned.masked_fill_(concerned < edge, -torch.inf)
        if not everyone:
            logits[self._cut] = concerned
        return logits

    def _edges(self, logits: torch.Tensor, n_candidates: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The smallest logit each row keeps, and whether that is sure from its likeliest `n_candidates` alone."""
        ranked = logits.topk(n_candidates, dim=-1).values
        allowed = torch.arange(n_candidates, device=logits.device) < self._top_k
        weights = ranked.exp() * allowed
        whole = torch.where(self._top_k <= n_candidates, weights.sum(dim=-1, keepdim=True), _total(logits))
        shares = weights / whole
        kept = (shares.cumsum(dim=-1) - shares < self._top_p) & (shares >= self._min_p * shares[:, :1])
        kept &= allowed & (ranked > -torch.inf)
        kept[:, 0] = True
        sure = ~kept[:, -1:] | (self._top_k <= n_candidates) | (n_candidates == logits.shape[-1])
        return ranked.gather(1, kept.sum(dim=-1, keepdim=True) - 1), sure

    def _invert(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw by inverting the distribution in the order of token ids, which rounding can't reorder: first the
        stretch of tokens, then the token in it."""
        weights = nn.functional.pad(logits.exp_(), (0, -logits.shape[-1] % STRETCH)).unflatten(1, (-1, STRETCH))
        highest = 1 - 4 * torch.finfo(self._precision).eps
        numbers = [min(self.samplers[row].uniform(), highest) for row in self._drawn]
        upto = weights.sum(dim=-1).cumsum(dim=-1, dtype=self._precision)
        goal = torch.tensor(numbers, dtype=self._precision, device=logits.device)[:, None] * upto[:, -1:]
        stretch = torch.searchsorted(upto, goal, right=True).clamp_(max=upto.shape[1] - 1)
        before = nn.functional.pad(upto, (1, 0)).gather(1, stretch)
        chosen = weights[torch.arange(len(weights), device=weights.device), stretch[:, 0]]
        mass = chosen.cumsum(dim=-1, dtype=self._precision)
        # Summed up in two ways, a stretch may be a rounding longer in one: then its last possible token it is.
        last = (chosen > 0).to(torch.int64).mul(torch.arange(STRETCH, device=chosen.device)).amax(dim=-1)
        inside = torch.searchsorted(mass, goal - before, right=True)[:, 0]
        return stretch[:, 0] * STRETCH + torch.minimum(inside, last)


def _total(logits: torch.Tensor) -> torch.Tensor:
    return logits.exp().sum(dim=-1, keepdim=True)


def _column(values: Sequence[float], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

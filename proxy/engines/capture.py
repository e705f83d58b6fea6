"""Reading residuals and next-token probabilities from many prompts, a small batch at a time.

Each function is a generator that runs one forward between two yields, so that the worker can let chats go on in
between, and returns its result at the end. Nothing is steered here.
"""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch

from proxy.engines.base import FloatArray, Rollout, Span, SpanStats
from proxy.engines.hooks import NOTHING
from proxy.engines.runner import ModelRunner

TOKENS_A_FORWARD = 2048  # padding included


def capture_steps(
    runner: ModelRunner, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None
) -> Generator[None, None, dict[Span, SpanStats]]:
    """Engine.capture in steps."""
    shape = (len(rollouts), runner.n_layers)
    found = {
        span: SpanStats(np.zeros((*shape, runner.hidden_size), np.float32), np.zeros(shape, np.float32))
        for span in spans
    }
    for members in _batches([len(rollout.prompt) + len(rollout.response) for rollout in rollouts]):
        batch = [rollouts[member] for member in members]
        readers = {span: _SpanReader(runner, batch, span) for span in spans}

        def read(block: int, hidden: torch.Tensor, readers: dict[Span, _SpanReader] = readers) -> None:
            hidden = hidden.float()
            norms = hidden.norm(dim=-1)
            for reader in readers.values():
                reader.add(hidden, norms)

        runner.read(runner.padded([[*rollout.prompt, *rollout.response] for rollout in batch]), read)
        for span, reader in readers.items():
            found[span].means[members], found[span].norms[members] = reader.result()
        if progress is not None:
            progress(len(members))
        yield
    return found


class _SpanReader:
    """One span's statistics of one batch, gathered block by block."""

    def __init__(self, runner: ModelRunner, batch: Sequence[Rollout], span: Span) -> None:
        if span == "last_prompt":
            self._bounds = [(len(rollout.prompt) - 1, len(rollout.prompt)) for rollout in batch]
        else:
            self._bounds = [(len(r.prompt), len(r.prompt) + len(r.response)) for r in batch]
        width = max(len(rollout.prompt) + len(rollout.response) for rollout in batch)
        weights = np.zeros((len(batch), width), np.float32)
        for row, (begin, end) in enumerate(self._bounds):
            weights[row, begin:end] = 1 / max(end - begin, 1)
        self._weights = torch.from_numpy(weights).to(runner.device)
        self._means: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []

    def add(self, hidden: torch.Tensor, norms: torch.Tensor) -> None:
        """The next block's output, float32[n_rows, n_tokens, hidden], and its norms [n_rows, n_tokens]."""
        self._means.append(torch.einsum("nt,nth->nh", self._weights, hidden))
        self._norms.append(norms)

    def result(self) -> tuple[FloatArray, FloatArray]:
        """Means [n_rows, n_layers, hidden] and median norms [n_rows, n_layers]; zeros where the span is empty."""
        means = torch.stack(self._means, dim=1).cpu().numpy()
        norms = torch.stack(self._norms, dim=1).cpu().numpy()
        medians = np.zeros(norms.shape[:2], np.float32)
        for row, (begin, end) in enumerate(self._bounds):
            if end > begin:
                medians[row] = np.median(norms[row, :, begin:end], axis=-1)
        return means, medians


def logprob_steps(
    runner: ModelRunner, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]
) -> Generator[None, None, FloatArray]:
    """Engine.next_token_logprobs in steps."""
    found = np.zeros((len(prompts), len(token_ids)), np.float32)
    wanted = torch.tensor(list(token_ids), dtype=torch.long, device=runner.device)
    for members in _batches([len(prompt) for prompt in prompts]):
        batch = [prompts[member] for member in members]
        tokens = runner.padded(batch)
        positions = torch.arange(tokens.shape[1], device=runner.device).expand_as(tokens)
        cache = runner.new_cache()
        cache.seat(len(batch), 0, tokens.shape[1])
        logits = runner.forward(tokens, positions, cache, [len(prompt) - 1 for prompt in batch], NOTHING)
        found[members] = logits.float().log_softmax(dim=-1)[:, wanted].cpu().numpy()
        yield
    return found


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """The indices of `lengths`, shortest first, in groups that padded fit into one forward; a long one is alone."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if groups and (len(groups[-1]) + 1) * lengths[index] <= TOKENS_A_FORWARD:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups

"""Log-probabilities: of given answers, each under its own steering plan, and of tokens that might come next.

Generators that run one forward between two yields, as in `capture`.
"""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch

from proxy.engines.answer import Steering
from proxy.engines.base import FloatArray, Rollout
from proxy.engines.transformers.chunks import chunks
from proxy.engines.transformers.hooks import Site, SteeringTable
from proxy.engines.transformers.runner import ModelRunner

LOGITS_A_FORWARD = 2**26  # numbers made from logits at a time, 256 MiB of them


def score_steps(
    runner: ModelRunner,
    rollouts: Sequence[Rollout],
    steering: Sequence[Steering],
    progress: Callable[[int], None] | None,
) -> Generator[None, None, list[FloatArray]]:
    """Engine.score in steps; `steering` is what is done to every token of each rollout."""
    texts = [[*rollout.prompt, *rollout.response] for rollout in rollouts]
    prompt_lengths = [len(rollout.prompt) for rollout in rollouts]
    found = [np.zeros(len(rollout.response), np.float32) for rollout in rollouts]
    for chunk in chunks(runner, texts):
        # A token's logits are about the one after it.
        wanted = [
            (row, position - chunk.start)
            for row, member in enumerate(chunk.members)
            for position in range(chunk.start, chunk.start + len(chunk.rows[row]))
            if prompt_lengths[member] - 1 <= position < len(texts[member]) - 1
        ]
        sites = [
            Site(row, column, steered)
            for row, member in enumerate(chunk.members)
            for column in range(len(chunk.rows[row]))
            if (steered := steering[member][chunk.start + column])
        ]
        table = SteeringTable.of_sites(sites, runner.hidden_size, runner.device)
        logits = runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, wanted=wanted, table=table)
        if logits is not None:
            targets = [texts[chunk.members[row]][chunk.start + column + 1] for row, column in wanted]
            for (row, column), value in zip(wanted, _logprobs(logits, targets), strict=True):
                member = chunk.members[row]
                found[member][chunk.start + column + 1 - prompt_lengths[member]] = value
        if chunk.last and progress is not None:
            progress(len(chunk.members))
        yield
    return found


def _logprobs(logits: torch.Tensor, targets: Sequence[int]) -> list[float]:
    """The log-probability of each row's target, in pieces that bound the memory."""
    wanted = torch.tensor(list(targets), device=logits.device)[:, None]
    n_rows = max(LOGITS_A_FORWARD // logits.shape[1], 1)
    pieces = []
    for start in range(0, len(wanted), n_rows):
        piece = logits[start : start + n_rows].float()
        pieces.append(piece.gather(1, wanted[start : start + n_rows])[:, 0] - piece.logsumexp(dim=-1))
    found: list[float] = torch.cat(pieces).tolist()
    return found


def next_token_steps(
    runner: ModelRunner, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]
) -> Generator[None, None, FloatArray]:
    """Engine.next_token_logprobs in steps."""
    found = np.zeros((len(prompts), len(token_ids)), np.float32)
    ids = torch.tensor(list(token_ids), dtype=torch.long, device=runner.device)
    for chunk in chunks(runner, prompts):
        wanted = [(row, len(tokens) - 1) for row, tokens in enumerate(chunk.rows)] if chunk.last else []
        logits = runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, wanted=wanted)
        if logits is not None:
            found[chunk.members] = logits.float().log_softmax(dim=-1)[:, ids].cpu().numpy()
        yield
    return found

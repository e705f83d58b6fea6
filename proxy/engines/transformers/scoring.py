"""Log-probabilities: of given answers, each under its own steering plan or beside their residuals, and of tokens that
might come next.

Generators that run one forward between two yields, as in `capture`.
"""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch

from proxy.engines.answer import Steering
from proxy.engines.base import AnswerReadings, FloatArray, Rollout
from proxy.engines.transformers.capture import SpanReader
from proxy.engines.transformers.chunks import Chunk, chunks
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
    found = [np.zeros(len(rollout.response), np.float32) for rollout in rollouts]
    for chunk in chunks(runner, texts):
        wanted = _wanted(chunk, rollouts)
        sites = [
            Site(row, column, steered)
            for row, member in enumerate(chunk.members)
            for column in range(len(chunk.rows[row]))
            if (steered := steering[member][chunk.start + column])
        ]
        table = SteeringTable.of_sites(sites, runner.hidden_size, runner.device)
        logits = runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, wanted=wanted, table=table)
        _take(found, rollouts, chunk, wanted, logits)
        if chunk.last and progress is not None:
            progress(len(chunk.members))
        yield
    return found


def read_steps(
    runner: ModelRunner,
    rollouts: Sequence[Rollout],
    blocks: Sequence[int],
    progress: Callable[[int], None] | None,
) -> Generator[None, None, AnswerReadings]:
    """Engine.read in steps."""
    means = np.zeros((len(rollouts), len(blocks), runner.hidden_size), np.float32)
    logprobs = [np.zeros(len(rollout.response), np.float32) for rollout in rollouts]
    reader: SpanReader | None = None
    for chunk in chunks(runner, [[*rollout.prompt, *rollout.response] for rollout in rollouts]):
        if chunk.start == 0:
            reader = SpanReader(runner, [rollouts[member] for member in chunk.members], "response")
        assert reader is not None  # every text begins at 0
        spans = reader

        def read(block: int, hidden: torch.Tensor, chunk: Chunk = chunk, spans: SpanReader = spans) -> None:
            if block in blocks:
                hidden = hidden.float()
                spans.add(block, chunk.start, hidden, hidden.norm(dim=-1))

        wanted = _wanted(chunk, rollouts)
        logits = runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, wanted=wanted, reader=read)
        _take(logprobs, rollouts, chunk, wanted, logits)
        if chunk.last:
            means[chunk.members] = spans.result()[0][:, list(blocks)]
            if progress is not None:
                progress(len(chunk.members))
        yield
    return AnswerReadings(means, logprobs)


def _wanted(chunk: Chunk, rollouts: Sequence[Rollout]) -> list[tuple[int, int]]:
    """The row and column of every token of a chunk whose logits are about a response token, which is the one after."""
    return [
        (row, position - chunk.start)
        for row, member in enumerate(chunk.members)
        for position in range(chunk.start, chunk.start + len(chunk.rows[row]))
        if 0 <= position + 1 - len(rollouts[member].prompt) < len(rollouts[member].response)
    ]


def _take(
    found: Sequence[FloatArray],
    rollouts: Sequence[Rollout],
    chunk: Chunk,
    wanted: Sequence[tuple[int, int]],
    logits: torch.Tensor | None,
) -> None:
    """Put the log-probabilities of a chunk's response tokens where they belong."""
    if logits is None:
        return
    members = [chunk.members[row] for row, _ in wanted]
    places = [
        chunk.start + column + 1 - len(rollouts[member].prompt)
        for member, (_, column) in zip(members, wanted, strict=True)
    ]
    targets = [rollouts[member].response[at] for member, at in zip(members, places, strict=True)]
    for member, at, value in zip(members, places, _logprobs(logits, targets), strict=True):
        found[member][at] = value


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

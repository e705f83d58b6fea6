"""Log-probabilities: of given answers, each under its own steering plan or beside their residuals, and of tokens that
might come next.

Generators that run one forward between two yields, as in `capture`.
"""

from collections.abc import Callable, Generator, Sequence
from functools import partial

import numpy as np
import torch

from proxy.engines.answer import Steering
from proxy.engines.base import AnswerReadings, FloatArray, Likelihood, Rollout
from proxy.engines.logprobs import likelihood
from proxy.engines.transformers.capture import SpanReader
from proxy.engines.transformers.chunks import Chunk, chunks
from proxy.engines.transformers.hooks import Site, SteeringTable
from proxy.engines.transformers.runner import ModelRunner

NUMBERS_AT_A_TIME = 2**26  # made from logits: 256 MiB of them

Take = Callable[[Chunk, Sequence[tuple[int, int]], torch.Tensor | None], None]


def score_steps(
    runner: ModelRunner,
    rollouts: Sequence[Rollout],
    steering: Sequence[Steering],
    progress: Callable[[int], None] | None,
) -> Generator[None, None, list[FloatArray]]:
    """Engine.score in steps; `steering` is what is done to every token of each rollout."""
    found = [np.zeros(len(rollout.response), np.float32) for rollout in rollouts]
    yield from _steered_steps(runner, rollouts, steering, progress, partial(_take, found, rollouts))
    return found


def likelihood_steps(
    runner: ModelRunner, rollouts: Sequence[Rollout], steering: Sequence[Steering], n_top: int
) -> Generator[None, None, list[list[Likelihood]]]:
    """Engine.likelihoods in steps: of every response token, in order."""
    found: list[list[Likelihood]] = [[] for _ in rollouts]

    def take(chunk: Chunk, wanted: Sequence[tuple[int, int]], logits: torch.Tensor | None) -> None:
        if logits is None:
            return
        members, _, targets = _targets(rollouts, chunk, wanted)
        for row, (member, target) in enumerate(zip(members, targets, strict=True)):
            found[member].append(likelihood(logits[row].float().cpu().numpy(), target, n_top))

    yield from _steered_steps(runner, rollouts, steering, None, take)
    return found


def _steered_steps(
    runner: ModelRunner,
    rollouts: Sequence[Rollout],
    steering: Sequence[Steering],
    progress: Callable[[int], None] | None,
    take: Take,
) -> Generator[None, None, None]:
    """Read the rollouts, and hand the logits that are about response tokens to `take`."""
    for chunk in chunks(runner, [[*rollout.prompt, *rollout.response] for rollout in rollouts]):
        wanted = _wanted(chunk, rollouts)
        sites = [
            Site(row, column, steered)
            for row, member in enumerate(chunk.members)
            for column in range(len(chunk.rows[row]))
            if (steered := steering[member][chunk.start + column])
        ]
        table = SteeringTable.of_sites(sites, runner.hidden_size, runner.device)
        logits = runner.read_chunk(chunk.rows, chunk.starts, chunk.cache, wanted=wanted, table=table)
        take(chunk, wanted, logits)
        if chunk.last and progress is not None:
            progress(len(chunk.members))
        yield


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
    members, places, targets = _targets(rollouts, chunk, wanted)
    for member, at, value in zip(members, places, _logprobs(logits, targets), strict=True):
        found[member][at] = value


def _targets(
    rollouts: Sequence[Rollout], chunk: Chunk, wanted: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int], list[int]]:
    """The response tokens that wanted logits are about: whose, where in the response, and which."""
    members = [chunk.members[row] for row, _ in wanted]
    places = [
        chunk.start + column + 1 - len(rollouts[member].prompt)
        for member, (_, column) in zip(members, wanted, strict=True)
    ]
    return members, places, [rollouts[member].response[at] for member, at in zip(members, places, strict=True)]


def _logprobs(logits: torch.Tensor, targets: Sequence[int]) -> list[float]:
    """The log-probability of each row's target, in pieces that bound the memory."""
    wanted = torch.tensor(list(targets), device=logits.device)[:, None]
    n_rows = max(NUMBERS_AT_A_TIME // logits.shape[1], 1)
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

"""Continuous batching: answers join and leave between the steps of one shared batch.

A step runs one chunk of prompt for answers that are joining, then one token for every answer in the batch, so a long
prompt never stalls the others for longer than a chunk takes. Knows nothing of threads, HTTP or personas.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from proxy.engines.answer import Answer
from proxy.engines.base import Failure
from proxy.engines.hooks import NOTHING, Site, SteeringTable
from proxy.engines.kv_cache import RowCache
from proxy.engines.runner import ModelRunner, release_memory
from proxy.engines.sampler import Draw, Sampler
from proxy.errors import EngineFailure

logger = logging.getLogger(__name__)

CHUNK_TOKENS = 512  # prompt tokens per step, padding included


@dataclass
class _Joining:
    """Answers whose prompts are being read: several short ones at once, or one long one in chunks."""

    answers: list[Answer]
    cache: RowCache
    done: int = 0


class Batch:
    """All answers of one model, waiting, joining and running."""

    def __init__(self, runner: ModelRunner, stops: frozenset[int], context_length: int, max_rows: int) -> None:
        self._runner = runner
        self._stops = stops
        self._context_length = context_length
        self._max_rows = max_rows
        self._waiting: deque[Answer] = deque()
        self._joining: _Joining | None = None
        self._running: list[tuple[Answer, Sampler]] = []
        self._cache = runner.new_cache()
        self._draw: Draw | None = None
        self._table = NOTHING

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._joining or self._running)

    def add(self, answer: Answer) -> None:
        """Queue an answer for a later step."""
        self._waiting.append(answer)

    def step(self) -> None:
        """A chunk of prompt for those who join, then a token for all who run. What fails ends in a Failure event."""
        self._drop_cancelled()
        if self._joining is None:
            self._joining = self._next_group()
        if self._joining is not None:
            joining = self._joining
            try:
                self._read_chunk(joining)
            except Exception as error:
                self._joining = None
                self._failed(joining.answers, error)
                self._leave([row for row, (answer, _) in enumerate(self._running) if answer.ended])
        if self._running:
            try:
                self._decode()
            except Exception as error:
                answers = [answer for answer, _ in self._running]
                self._running = []
                self._cache = self._runner.new_cache()
                self._failed(answers, error)

    def fail_all(self, error: Exception) -> None:
        """End every answer, and start afresh."""
        joining = self._joining.answers if self._joining else []
        answers = [answer for answer, _ in self._running] + joining + list(self._waiting)
        self._waiting.clear()
        self._joining, self._running = None, []
        self._cache = self._runner.new_cache()
        self._forget_composition()
        for answer in answers:
            answer.emit(Failure(error))

    def _failed(self, answers: Sequence[Answer], error: Exception) -> None:
        logger.error("a step of %d answers failed", len(answers), exc_info=error)
        self._forget_composition()
        release_memory(self._runner.device)
        reason = "out of memory" if isinstance(error, torch.OutOfMemoryError) else type(error).__name__
        for answer in answers:
            answer.emit(Failure(EngineFailure(f"the model failed while it ran ({reason})")))

    def _drop_cancelled(self) -> None:
        if any(answer.cancelled for answer in self._waiting):
            self._waiting = deque(answer for answer in self._waiting if not answer.cancelled)
        if self._joining is not None and all(answer.cancelled for answer in self._joining.answers):
            self._joining = None
        self._leave([row for row, (answer, _) in enumerate(self._running) if answer.cancelled])

    def _next_group(self) -> _Joining | None:
        """The next of those waiting, with as many after it as fit into one chunk with it and into the batch."""
        group: list[Answer] = []
        room = self._max_rows - len(self._running)
        longest = 0
        while self._waiting and len(group) < room:
            longest = max(longest, len(self._waiting[0].prompt))
            if group and longest * (len(group) + 1) > CHUNK_TOKENS:
                break
            group.append(self._waiting.popleft())
        return _Joining(group, self._runner.new_cache()) if group else None

    def _read_chunk(self, joining: _Joining) -> None:
        """Run the group's next chunk; after the last, draw everyone's first token and let them join."""
        answers, start = joining.answers, joining.done
        chunk = [answer.prompt[start : start + CHUNK_TOKENS] for answer in answers]
        tokens = self._runner.padded(chunk)
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device).expand_as(tokens)
        joining.cache.seat(len(answers), start, tokens.shape[1])
        sites: list[Site] = []
        for row, answer in enumerate(answers):
            sites += _prompt_sites(answer, row, start, len(chunk[row]))
        table = SteeringTable(sites, self._runner.device)
        last = [len(piece) - 1 for piece in chunk]
        logits = self._runner.forward(tokens, positions, joining.cache, last, table)
        joining.done += tokens.shape[1]
        if joining.done >= max(len(answer.prompt) for answer in answers):
            self._join(joining, logits)

    def _join(self, joining: _Joining, logits: torch.Tensor) -> None:
        runner = self._runner
        samplers = [
            Sampler(answer.generation.sampling, answer.prompt, logits.shape[-1], runner.device)
            for answer in joining.answers
        ]
        tokens = Draw(samplers, runner.device)(logits)
        self._joining = None
        self._forget_composition()
        for row, (answer, sampler, token) in enumerate(zip(joining.answers, samplers, tokens, strict=True)):
            if answer.accept(token, self._stops, self._context_length):
                self._cache.append_row(joining.cache, row, len(answer.prompt))
                self._running.append((answer, sampler))

    def _decode(self) -> None:
        """One token for every running answer."""
        runner, answers = self._runner, [answer for answer, _ in self._running]
        if self._draw is None:
            sites = [Site(row, 0, answer.steering_at(answer.length - 1)) for row, answer in enumerate(answers)]
            self._table = SteeringTable(sites, runner.device)
            self._draw = Draw([sampler for _, sampler in self._running], runner.device)
        tokens = torch.tensor([answer.last_token for answer in answers], device=runner.device)
        positions = torch.tensor([answer.length - 1 for answer in answers], device=runner.device)
        self._cache.seat_each(positions, max(answer.length for answer in answers))
        logits = runner.forward(tokens[:, None], positions[:, None], self._cache, [0] * len(answers), self._table)
        drawn = self._draw(logits)
        going = [a.accept(token, self._stops, self._context_length) for a, token in zip(answers, drawn, strict=True)]
        self._leave([row for row, goes_on in enumerate(going) if not goes_on])

    def _leave(self, rows: Sequence[int]) -> None:
        for row in reversed(rows):
            self._cache.remove_row(row)
            self._running[row] = self._running[-1]
            self._running.pop()
        if rows:
            self._forget_composition()
            if not self._running:
                self._cache = self._runner.new_cache()

    def _forget_composition(self) -> None:
        """Who is in the batch has changed: what is worth keeping from step to step is made anew."""
        self._draw = None
        self._table = NOTHING


def _prompt_sites(answer: Answer, row: int, start: int, n_tokens: int) -> list[Site]:
    """What is steered in the prompt's tokens from `start` on."""
    steered = ((column, answer.steering_at(start + column)) for column in range(n_tokens))
    return [Site(row, column, interventions) for column, interventions in steered if interventions]

"""Continuous batching: answers join and leave between the steps of one shared batch.

A step runs one chunk of prompt for answers that are joining, then one token for every answer in the batch, so a long
prompt never stalls the others for longer than a chunk takes. Knows nothing of threads, HTTP or personas.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from proxy.engines.answer import RunningAnswer, Steering
from proxy.engines.base import Failure, Likelihood, Probe
from proxy.engines.errors import EngineError, MemoryFull, ModelFailed, PromptTooLarge
from proxy.engines.logprobs import likelihood
from proxy.engines.transformers.graphs import DecodeGraphs, cuda_graphs
from proxy.engines.transformers.hooks import Site, SteeringTable, layout_of
from proxy.engines.transformers.kv_cache import KeyValues, RowCache
from proxy.engines.transformers.prefix_cache import PrefixCache
from proxy.engines.transformers.runner import CHUNK_TOKENS, ModelRunner, out_of_memory, release_memory
from proxy.engines.transformers.sampler import Draw, Sampler

logger = logging.getLogger(__name__)
T = TypeVar("T")

PREFIX_SHARE, MOST_PREFIX_BYTES = 0.25, 2**30  # of the weights' memory, for keys and values of prompts read before
SETTLED_TOKENS = 128  # of a prompt that is to be read alike each time, in a forward: a CPU gains little from more
_SETTLED = "settled "  # before the keys of what was read so
WORTH_WAITING = 64  # tokens of prompt in common, for which an answer joins a step later


@dataclass
class _Joining:
    """Answers whose prompts are being read: several short ones at once, or one long one in chunks. `known` is what was
    read of each before and is still to be copied into the cache; `done` counts the tokens that need no reading.
    `settled`: a prompt that is read alone and in pieces that begin at fixed places, so that it comes out the same to
    the last bit, whatever was read before."""

    cache: RowCache
    settled: bool = False
    answers: list[RunningAnswer] = field(default_factory=list)
    known: list[KeyValues] = field(default_factory=list)
    done: list[int] = field(default_factory=list)


class DecodingBatch:
    """All answers of one model: those that wait, those whose prompts are being read, and those that get a token at
    every step. It belongs to the model's one worker thread."""

    def __init__(self, runner: ModelRunner, stops: frozenset[int], context_length: int, max_rows: int) -> None:
        self._runner = runner
        self._stops = stops
        self._context_length = context_length
        self._max_rows = max_rows
        self._waiting: deque[RunningAnswer] = deque()
        self._joining: _Joining | None = None
        self._running: list[tuple[RunningAnswer, Sampler]] = []
        self._cache = runner.new_cache()
        self._prefixes = PrefixCache(min(int(PREFIX_SHARE * runner.n_bytes), MOST_PREFIX_BYTES))
        on_cuda = runner.device.type == "cuda"
        self._graphs = DecodeGraphs(runner, max_rows, cuda_graphs(runner.device)) if on_cuda else None
        self._one_by_one = 0  # how many of those waiting have to join alone
        self._draw: Draw | None = None
        self._steering: Steering = []  # of each row's next token
        self._probes: list[tuple[Probe, ...]] = []  # each row's
        self._table: SteeringTable | None = None  # made from both

    @property
    def busy(self) -> bool:
        """Whether any answer is waiting, joining or running."""
        return bool(self._waiting or self._joining or self._running)

    @property
    def cached_bytes(self) -> int:
        """Of memory, for what is kept of prompts. Any thread may ask."""
        return self._prefixes.n_bytes

    def pause(self) -> None:
        """Nothing waits for the next step."""

    def add(self, answer: RunningAnswer) -> None:
        """Take on an answer; it joins the batch between two steps."""
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
                self._fail_joining(joining, error)
        if self._running:
            try:
                self._decode()
            except Exception as error:
                self._fail_running(error)

    def fail_all(self, error: Exception) -> None:
        """End every answer with this error."""
        joining = self._joining.answers if self._joining else []
        answers = [answer for answer, _ in self._running] + joining + list(self._waiting)
        self._waiting.clear()
        self._joining, self._running = None, []
        self._start_afresh()
        for answer in answers:
            answer.emit(Failure(error))

    def _fail_joining(self, joining: _Joining, error: Exception) -> None:
        """Of several together each is tried on its own, so that only the one whose fault it is fails."""
        self._joining = None
        while self._cache.n_rows > len(self._running):
            self._cache.remove_row(self._cache.n_rows - 1)
        if len(joining.answers) > 1:
            logger.warning("what failed for %d answers is tried for each alone", len(joining.answers), exc_info=error)
            self._waiting.extendleft(reversed(joining.answers))
            self._one_by_one = len(joining.answers)
            self._free_memory()
        else:
            self._failed(joining.answers, error, alone=not self._running)
            self._leave([row for row, (answer, _) in enumerate(self._running) if answer.ended])

    def _fail_running(self, error: Exception) -> None:
        """Where memory ran out the longest answer fails, where anything else did every one."""
        if out_of_memory(error):
            # Every row of the cache is as long as the longest, so that it alone is to blame, and the others can go on.
            longest = max(range(len(self._running)), key=lambda row: self._running[row][0].length)
            self._failed([self._running[longest][0]], error, alone=len(self._running) == 1)
            self._leave([longest])
            self._shrink()
        else:
            self._fail_all_running(error)

    def _fail_all_running(self, error: Exception) -> None:
        answers = [answer for answer, _ in self._running]
        self._running = []
        self._failed(answers, error)
        self._start_afresh()

    def _shrink(self) -> None:
        """Move the rows into a cache no longer than they need."""
        try:
            smaller = self._runner.new_cache()
            for row, (answer, _) in enumerate(self._running):
                smaller.append_row(self._cache, row, answer.length - 1)
            self._cache = smaller
        except Exception as error:
            self._fail_all_running(error)

    def _failed(self, answers: Sequence[RunningAnswer], error: Exception, *, alone: bool = False) -> None:
        logger.error("a step of %d answers failed", len(answers), exc_info=error)
        self._forget_composition()
        self._free_memory()
        reported = _memory_error(alone) if out_of_memory(error) else _failure(error)
        for answer in answers:
            answer.emit(Failure(reported))

    def _free_memory(self) -> None:
        self._prefixes.clear()
        release_memory(self._runner.device)

    def _patiently(self, work: Callable[[], T]) -> T:
        """What `work` makes; when memory runs out, it is tried once more without the prompts that were kept."""
        try:
            return work()
        except Exception as error:
            if not out_of_memory(error):
                raise
        self._free_memory()
        return work()

    def _drop_cancelled(self) -> None:
        if any(answer.cancelled for answer in self._waiting):
            self._waiting = deque(answer for answer in self._waiting if not answer.cancelled)
        if self._joining is not None and all(answer.cancelled for answer in self._joining.answers):
            self._joining = None
        self._leave([row for row, (answer, _) in enumerate(self._running) if answer.cancelled])

    def _next_group(self) -> _Joining | None:
        """The next of those waiting, with as many after it as fit into one chunk with it and into the batch."""
        alone = len(self._waiting) == 1 and self._waiting[0].repeatable
        joining = _Joining(self._runner.new_cache(), settled=alone)
        room = self._max_rows - len(self._running)
        if self._one_by_one:
            room, self._one_by_one = min(room, 1), self._one_by_one - min(room, 1)
        longest = 0
        while self._waiting and len(joining.answers) < room:
            answer = self._waiting[0]
            # All but the last token: that one has to be read for its logits, and it is where steering may begin.
            known = self._known(answer, settled=joining.settled)
            length = _n_known(known)
            longest = max(longest, len(answer.prompt) - length)
            full = longest * (len(joining.answers) + 1) > CHUNK_TOKENS
            # The first always joins, however long: it is read in chunks, with steps of the others in between.
            if joining.answers and (full or _worth_waiting(answer, length, joining.answers)):
                break
            joining.answers.append(self._waiting.popleft())
            joining.known.append(known)
            joining.done.append(length)
            answer.cached = length
        return joining if joining.answers else None

    def _known(self, answer: RunningAnswer, *, settled: bool) -> KeyValues:
        """What was read of an answer's prompt before, less its last token; with `settled` only what may be used where
        it has to come out the same each time."""
        key, wanted = answer.prefix_key, answer.prompt[:-1]
        surely = self._prefixes.longest(_SETTLED + key, wanted)
        if settled:
            length = self._whole_pieces(_n_known(surely))
            return [(keys[:, :length], values[:, :length]) for keys, values in surely] if length else []
        return max(self._prefixes.longest(key, wanted), surely, key=_n_known)

    @property
    def _settled_tokens(self) -> int:
        return SETTLED_TOKENS if self._runner.device.type == "cpu" else CHUNK_TOKENS

    def _whole_pieces(self, length: int) -> int:
        return length - length % self._settled_tokens

    def _read_chunk(self, joining: _Joining) -> None:
        """Run the group's next chunk; after the last, draw everyone's first token and let them join."""
        for row, known in enumerate(joining.known):
            self._patiently(partial(joining.cache.write_row, row, known))
        joining.known.clear()
        answers, starts = joining.answers, joining.done
        size = self._settled_tokens if joining.settled else CHUNK_TOKENS
        rows = [a.prompt[at : at + size] for a, at in zip(answers, starts, strict=True)]
        ends = [start + len(row) for start, row in zip(starts, rows, strict=True)]
        over = all(end == len(answer.prompt) for answer, end in zip(answers, ends, strict=True))
        sites = [
            Site(row, at - start, steering)
            for row, (answer, start, end) in enumerate(zip(answers, starts, ends, strict=True))
            for at in range(start, end)
            if (steering := answer.steering_at(at))
        ]
        wanted = [(row, len(tokens) - 1) for row, tokens in enumerate(rows)] if over else []
        table = SteeringTable.of_sites(sites, self._runner.hidden_size, self._runner.device)
        logits = self._patiently(
            lambda: self._runner.read_chunk(rows, starts, joining.cache, wanted=wanted, table=table)
        )
        joining.done = ends
        if logits is not None:
            self._join(joining, logits)

    def _join(self, joining: _Joining, logits: torch.Tensor) -> None:
        runner = self._runner
        samplers = [
            Sampler(
                answer.generation.sampling,
                answer.prompt,
                logits.shape[-1],
                runner.device,
                answer.allowed if answer.constrained else None,
            )
            for answer in joining.answers
        ]
        tokens = self._drawn(joining.answers, samplers, logits)
        likely = _likelihoods(joining.answers, tokens, logits)
        for row, answer in enumerate(joining.answers):
            self._patiently(partial(self._cache.append_row, joining.cache, row, len(answer.prompt)))
        self._joining = None
        first = len(self._running)
        self._running += zip(joining.answers, samplers, strict=True)
        self._forget_composition()
        ended = self._accept(joining.answers, tokens, likely)
        self._leave([first + row for row in ended])
        self._remember(joining)

    def _remember(self, joining: _Joining) -> None:
        """Keep what was read of the prompts for others that begin alike, if there is memory for it."""
        try:
            for row, answer in enumerate(joining.answers):
                key, length = answer.prefix_key, len(answer.prompt) - 1
                if joining.settled:
                    key, length = _SETTLED + key, self._whole_pieces(length)
                self._prefixes.store(key, answer.prompt[:length], joining.cache.read_row(row, length))
        except Exception as error:
            if not out_of_memory(error):
                logger.exception("what was read of prompts can't be kept")
            self._free_memory()

    def _decode(self) -> None:
        """One token for every running answer."""
        answers = [answer for answer, _ in self._running]
        self._steer([answer.steering_at(answer.length - 1) for answer in answers])
        logits = self._patiently(self._logits)
        self._read(answers)
        drawn = self._drawn(answers, [sampler for _, sampler in self._running], logits)
        self._leave(self._accept(answers, drawn, _likelihoods(answers, drawn, logits)))

    def _drawn(self, answers: Sequence[RunningAnswer], samplers: Sequence[Sampler], logits: torch.Tensor) -> list[int]:
        """Everyone's next token, -1 for none: drawn together, or one by one where that fails, so that it fails for the
        one alone whose rules are to blame."""
        try:
            # Made anew only when somebody joined or left, not at every step.
            if self._draw is None or self._draw.samplers != samplers:
                self._draw = Draw(samplers, self._runner.device)
            return self._draw(logits)
        except Exception as error:
            if out_of_memory(error):
                raise
            self._draw = None
            logger.warning("what failed for %d answers is tried for each alone", len(answers), exc_info=error)
        tokens = []
        for row, (answer, sampler) in enumerate(zip(answers, samplers, strict=True)):
            try:
                tokens += Draw([sampler], self._runner.device)(logits[row : row + 1])
            except Exception as error:
                logger.exception("no token can be drawn for an answer")
                answer.emit(Failure(_failure(error)))
                tokens.append(-1)
        return tokens

    def _accept(
        self, answers: Sequence[RunningAnswer], tokens: Sequence[int], likely: Sequence[Likelihood | None]
    ) -> list[int]:
        """Tell everyone of its token; who goes no further, by their places."""
        told = zip(answers, tokens, likely, strict=True)
        going = [answer.accept(token, self._stops, self._context_length, seen) for answer, token, seen in told]
        return [place for place, goes_on in enumerate(going) if not goes_on]

    def _steer(self, steering: Steering) -> None:
        """Take note of how each row of the next step is steered."""
        before = self._steering
        if len(steering) == len(before) and all(mine is old for mine, old in zip(steering, before, strict=True)):
            return
        self._steering, self._table = steering, None
        self._probes = [answer.generation.probes for answer, _ in self._running]
        if self._graphs is not None:
            self._graphs.steer(steering, self._probes)

    def _logits(self) -> torch.Tensor:
        answers, runner = [answer for answer, _ in self._running], self._runner
        tokens = [answer.last_token for answer in answers]
        positions = [answer.length - 1 for answer in answers]
        seen = max(positions) + 1
        if self._graphs is not None:
            logits = self._graphs.decode(tokens, positions, self._cache, seen)
            if logits is not None:
                return logits
        if self._table is None:
            layout = layout_of(self._steering, self._probes)
            self._table = SteeringTable.of_rows(self._steering, layout, runner.hidden_size, runner.device, self._probes)
        columns = torch.tensor([tokens, positions], device=runner.device)[:, :, None]
        return runner.decode(columns[0], columns[1], self._cache, seen, self._table)

    def _read(self, answers: Sequence[RunningAnswer]) -> None:
        """Hand everyone what their probes read in this step."""
        table = self._table or (self._graphs and self._graphs.table)
        if table and any(self._probes):
            for answer, readings in zip(answers, table.read(self._probes), strict=True):
                answer.readings = readings

    def _leave(self, rows: Sequence[int]) -> None:
        # From the end, or a row that is moved into a free place would be counted by its old one.
        for row in reversed(rows):
            self._cache.remove_row(row)
            # The last row takes the free place, as in the cache: to close ranks would copy every row behind it.
            self._running[row] = self._running[-1]
            self._running.pop()
        if rows:
            self._forget_composition()
            if not self._running and self._graphs is None:
                self._cache = self._runner.new_cache()

    def _start_afresh(self) -> None:
        """Nobody is in the batch any more, and its memory may be in any state."""
        self._cache = self._runner.new_cache()
        self._prefixes.clear()
        self._forget_composition()

    def _forget_composition(self) -> None:
        """Who is in the batch has changed: what is worth keeping from step to step is made anew."""
        self._draw = None
        self._steering = []


def _n_known(known: KeyValues) -> int:
    return known[0][0].shape[1] if known else 0


def _worth_waiting(answer: RunningAnswer, known: int, group: Sequence[RunningAnswer]) -> bool:
    """Whether so much of a prompt is about to be read for another that it can be had for nothing a step later."""
    end = known + WORTH_WAITING
    if end >= len(answer.prompt):
        return False
    return any(
        other.prompt[:end] == answer.prompt[:end] and other.prefix_key == answer.prefix_key
        for other in group
        if len(other.prompt) > end
    )


def _likelihoods(
    answers: Sequence[RunningAnswer], tokens: Sequence[int], logits: torch.Tensor
) -> list[Likelihood | None]:
    found: list[Likelihood | None] = [None] * len(answers)
    for row, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
        n_top = answer.generation.sampling.top_logprobs
        if n_top is not None and token >= 0:
            found[row] = likelihood(logits[row].float().cpu().numpy(), token, n_top, answer.special)
    return found


def _memory_error(alone: bool) -> EngineError:
    """Where others take part of the memory, trying again later may do; alone it never will."""
    if alone:
        return PromptTooLarge("there is not enough memory for this prompt and its answer; shorten it")
    return MemoryFull("there was not enough memory left for this answer beside the others; try again later")


def _failure(error: Exception) -> ModelFailed:
    return ModelFailed(f"the model failed while it ran ({type(error).__name__})")

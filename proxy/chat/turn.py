"""One request's way through a model: admitted, its engine waited for, prepared, started, collected or streamed, noted.

What endpoints do with the answers' text is theirs. Knows nothing of HTTP: who waits for a client that may go away wraps
the steps that take time. Lives on one event loop.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TypeVar

from proxy.chat.calling import NO_CALLS, Calling
from proxy.chat.personas import label
from proxy.chat.prepare import Asked, Preparation, Prepared
from proxy.chat.refusals import client_error
from proxy.chat.scheduler import Admission, Scheduler
from proxy.chat.stream import GrowingChoice
from proxy.chat.summary import AnswerSummary, TurnSummary
from proxy.engines.base import Engine, Failure, Finish, Likelihood, Together, Token
from proxy.engines.registry import Registry
from proxy.errors import ProxyError
from proxy.steering.monitor import Monitor, ProjectionRecord, SeriesKey

# Prompts that are rendered and tokenised at once. What waits for its turn is dropped when its client goes; what has
# begun ends, since a thread can't be stopped, so few may.
PREPARING = 4
SCORING = 2  # that wait for the model to read their prompts
T = TypeVar("T")
MAX_SEED = 2**63  # seeds are below it, and wrap around


class Turns:
    """What all turns are made with."""

    def __init__(self, registry: Registry, scheduler: Scheduler, preparation: Preparation, monitor: Monitor) -> None:
        self.registry = registry
        self.scheduler = scheduler
        self.preparation = preparation
        self.monitor = monitor
        self.preparing = ThreadPoolExecutor(PREPARING, "prepare")
        self.scoring = ThreadPoolExecutor(SCORING, "score")

    def admit(self, model: str, places: int, field: str = "n") -> "Turn":
        """A turn with places for so many answers of the model. Overloaded where its queue is full, InvalidRequest that
        names `field` for more places than there are."""
        return Turn(self, self.scheduler.admit(model, places, field))


class Turn:
    """A request under way. Close it however it ends, best as a context manager: that cancels what still runs and gives
    its places and its engine back. `choices` are the answers that were started, as they grow."""

    def __init__(self, turns: Turns, admission: Admission) -> None:
        self.model = admission.model
        self.choices: list[GrowingChoice] = []
        self._turns = turns
        self._admission = admission
        self._prepared: list[Prepared] = []  # of each choice
        self._scored: list[Prepared] = []  # whose prompts alone were read
        self._failed: set[int] = set()  # of the choices
        self._closed = False

    async def engine(self) -> Engine:
        """The model's engine, held until the turn is closed. Waits for one that is loaded on demand. ModelUnavailable
        as in `Registry.hold`, and when it can't be loaded."""
        hold = self._turns.registry.hold(self.model)
        self._admission.on_close(hold.release)
        return await hold.loaded()

    async def prepare(self, engine: Engine, asked: Iterable[Asked]) -> list[Prepared]:
        """All that takes time and may be refused, in a thread: prompts, plans, sampling. InvalidRequest and its
        kinds."""
        prepare = partial(self._turns.preparation.prepare, engine)

        def work() -> list[Prepared]:
            return [prepare(each) for each in asked]

        return await asyncio.get_running_loop().run_in_executor(self._turns.preparing, work)

    async def score(
        self, engine: Engine, prepared: Sequence[Prepared], n_top: int, told: Callable[[list[list[Likelihood]]], T]
    ) -> T:
        """What `told` makes of how likely the tokens of the prompts are, in a thread; given up when the turn is
        closed. Refusal."""
        self._scored += prepared

        def work() -> T:
            texts, plans = [each.prompt for each in prepared], [each.plan for each in prepared]
            likely = engine.likelihoods(texts, plans, n_top, lambda: self._closed)
            if self._closed:
                raise asyncio.CancelledError
            return told(likely)

        return await asyncio.get_running_loop().run_in_executor(self._turns.scoring, work)

    def start(
        self,
        engine: Engine,
        prepared: Prepared,
        seed: int | None,
        stops: Sequence[str] = (),
        calling: Calling = NO_CALLS,
        *,
        together: Together | None = None,
    ) -> GrowingChoice:
        """Start one answer in one of the turn's places, or have it begin with others."""
        generation = prepared.generation(None if seed is None else seed % MAX_SEED, stops)
        self._admission.start(engine, replace(generation, together=together))
        self._prepared.append(prepared)
        self.choices.append(self._choice(prepared, stops, calling))
        return self.choices[-1]

    def _choice(self, prepared: Prepared, stops: Sequence[str], calling: Calling) -> GrowingChoice:
        tools = calling.rules is not None
        return GrowingChoice(stops, tools, calling.ending, calling.legacy, readings=prepared.readings())

    async def accepted(self) -> None:
        """Wait until every choice is certain to begin, which some engines can't tell at once. Raises, in the client's
        words, what keeps one of them from it."""
        for index in range(len(self.choices)):
            try:
                await self._admission.accepted(index)
            except Exception as error:
                self._failed.add(index)
                raise client_error(error) from error

    async def events(self) -> AsyncIterator[tuple[int, Token | Finish]]:
        """What happens to the choices, each event with its choice's index. Whoever reads feeds the choices, and one
        that is finished then makes no more. Raises, in the client's words, what made one of them fail."""
        async for index, event in self._admission.events():
            if isinstance(event, Failure):
                self._failed.add(index)
                raise client_error(event.error)
            yield index, event
            if self.choices[index].finish_reason is not None:
                self._admission.cancel(index)

    async def collect(self) -> None:
        """Run every choice to its end. Raises as `events` does."""
        async for index, event in self.events():
            self.choices[index].feed(event)

    def fail(self, error: ProxyError) -> None:
        """Have `events` and `collect` raise an error, and whatever still runs end."""
        self._admission.fail(error)

    @property
    def tokens(self) -> int:
        """That all choices have so far."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def finished(self) -> bool:
        """Whether every choice is."""
        return all(choice.finish_reason is not None for choice in self.choices)

    def note(self) -> None:
        """Have the monitor remember what was read of the choices that are finished."""
        now = time.time()
        for choice, prepared in zip(self.choices, self._prepared, strict=True):
            if choice.finish_reason is not None:
                self._note(choice, prepared, now)

    def _note(self, choice: GrowingChoice, prepared: Prepared, now: float) -> None:
        if prepared.report.random_direction is not None:
            return  # it is no answer of the persona's
        means = choice.readings.means()
        for watched in prepared.watched:
            if watched.pole in means:
                persona, block = label(prepared.steered_to), watched.probe.block
                key = SeriesKey(self.model, persona, watched.pole, watched.vector_id, block, watched.separation)
                coefficient = prepared.steered_to.get(watched.pole)
                record = ProjectionRecord(now, means[watched.pole], choice.readings.n_tokens, coefficient)
                self._turns.monitor.record(key, record)

    def summary(self) -> TurnSummary:
        """What it came to. Of a prompt that several choices are for, what was read before is that of its first one."""
        read: dict[int, tuple[int, int]] = {id(each): (len(each.prompt), 0) for each in self._scored}
        for choice, prepared, times in zip(self.choices, self._prepared, self._admission.times, strict=True):
            if times.first_s is not None or choice.finish_reason is not None:
                length = len(prepared.prompt) if choice.prompt_tokens is None else choice.prompt_tokens
                read.setdefault(id(prepared), (length, choice.cached))
        return TurnSummary(
            model=self.model,
            sampling=self._prepared[0].sampling if self._prepared else None,
            prompt_tokens=sum(tokens for tokens, _ in read.values()),
            cached_tokens=sum(cached for _, cached in read.values()),
            answers=[self._summary(index) for index in range(len(self.choices))],
        )

    def _summary(self, index: int) -> AnswerSummary:
        choice, prepared, times = self.choices[index], self._prepared[index], self._admission.times[index]
        report = prepared.report
        return AnswerSummary(
            finish_reason=choice.finish_reason or ("error" if index in self._failed else "abort"),
            tokens=choice.tokens,
            first_token_s=times.first_s,
            last_token_s=times.last_s,
            method=report.method,
            personas={} if report.random_direction is not None else dict(prepared.steered_to),
            relative_dose=report.relative_dose,
            beyond_measured_range=bool(report.beyond_measured_range),
        )

    def close(self) -> None:
        """More than once is harmless."""
        self._closed = True
        self._admission.close()

    def __enter__(self) -> "Turn":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Many answers at once, for code that may block: extraction and measurement."""

import contextlib
import queue
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from proxy.engines.base import Engine, Event, Failure, Finish, Generation, Run, Together, Token

MAX_RUNNING = 32  # answers at once: beyond it a CPU gains little, and a GPU's memory is for the model


@dataclass
class Completion:
    """One whole answer, less its calls of functions. `token_ids` are those of all channels, without the end token."""

    text: str = ""
    reasoning: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "stop"


def generate_all(
    engine: Engine,
    generations: Sequence[Generation],
    progress: Callable[[int], None] | None = None,
    max_running: int = MAX_RUNNING,
) -> list[Completion]:
    """The answers, in the order of `generations`. Blocks until the last is there; the first Failure is
    raised. `progress` is told, on this thread, how
    many more are done."""
    completions = [Completion() for _ in generations]
    with contextlib.closing(each_answer(engine, generations, max_running=max_running)) as answers:
        for index, completion in answers:
            completions[index] = completion
            if progress is not None:
                progress(1)
    return completions


def each_answer(
    engine: Engine,
    generations: Sequence[Generation],
    *,
    check: Callable[[], None] | None = None,
    max_running: int = MAX_RUNNING,
) -> Generator[tuple[int, Completion], None, None]:
    """Every answer and its index in `generations`, as they end. Blocks; the engine runs at most `max_running` at a
    time. They begin together, so that where nobody else uses the engine, seeds make the same answers again.

    `check` is called on this thread before every answer and at every token. What it raises ends the work, and so do the
    first Failure, which is raised, and closing the generator: whatever makes it end early cancels the rest.
    """
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    completions: dict[int, Completion] = {}
    running: dict[int, Run] = {}
    together = Together(len(generations), max_running)
    try:
        for number, generation in enumerate(generations):
            if check is not None:
                check()
            completions[number] = Completion()
            running[number] = engine.start(replace(generation, together=together), _tell(events, number))
        while running:
            index, event = events.get()
            if check is not None:
                check()
            if isinstance(event, Failure):
                raise event.error
            if isinstance(event, Finish):
                completions[index].finish_reason = event.reason
                del running[index]
                yield index, completions.pop(index)
            else:
                _extend(completions[index], event)
    finally:
        for run in running.values():
            run.cancel()


def _tell(events: "queue.SimpleQueue[tuple[int, Event]]", index: int) -> Callable[[Event], None]:
    return lambda event: events.put((index, event))


def _extend(completion: Completion, token: Token) -> None:
    completion.token_ids.append(token.id)
    if token.channel == "content":
        completion.text += token.text
    elif token.channel == "reasoning":
        completion.reasoning += token.text

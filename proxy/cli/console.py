"""Long work on a terminal: the kinds of job that the server runs, with a line that says how far they are.

Writes to a text stream only; knows nothing of the command line, and nothing of what the work is about.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

import msgspec
from tqdm import tqdm

from proxy.cli.common import explained
from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.jobs.kinds.base import Kind
from proxy.steering.traits.trait import Trait
from proxy.steering.work import FolderParts, Progress, Work


class Console:
    """Has work done, one piece after the other. `fresh`: what an earlier run did not finish is thrown away, not gone on
    with; None for a command that can't do that."""

    def __init__(self, out: TextIO, fresh: bool | None = None) -> None:
        self._out = out
        self._fresh = fresh

    def do(
        self, kind: Kind, engine: Engine, asked: msgspec.Struct, *, name: str = "", again: str = "the same command"
    ) -> dict[str, Any]:
        """What a kind of job makes of its parameters. Blocks for minutes. `name` begins every line; `again` is what
        goes on with work that was broken off."""
        label = f"{name}: " if name else ""
        try:
            with ProgressBar(self._out) as progress:
                done = kind.run(engine, asked, _Task(self, progress, label))
        except KeyboardInterrupt:
            self.say(f"{label}broken off; {again} goes on from here")
            raise
        done.clean_up()
        return done.result

    def each(
        self,
        kind: Kind,
        engine: Engine,
        traits: Sequence[Trait],
        asked: Callable[[Trait], msgspec.Struct],
        show: Callable[[dict[str, Any]], None],
    ) -> None:
        """The same for several traits, whose results are shown as they come. A trait that fails does not keep the
        others from being worked on: SetupError at the end says which failed and why."""
        failures: list[str] = []
        for number, trait in enumerate(traits):
            rest = " ".join(f"--trait {left.id}" for left in traits[number:])
            again = f"the same command with {rest}" if number else "the same command"
            try:
                with explained():
                    result = self.do(kind, engine, asked(trait), name=trait.id, again=again)
            except SetupError as error:
                failures.append(error.message)
            else:
                show(result)
        if failures:
            raise SetupError("; ".join(dict.fromkeys(failures)))

    def begin(self, parts: FolderParts, label: str) -> None:
        """Say what is gone on with, unless it is to be thrown away."""
        if self._fresh:
            parts.discard()
        elif parts.begun:
            hint = "" if self._fresh is None else " (--fresh starts over)"
            self.say(f"{label}going on where an earlier run was broken off{hint}")

    def say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class _Task:
    """A kind's work on the command line: what is told goes to the console, and Ctrl-C is what ends it."""

    def __init__(self, console: Console, progress: Progress, label: str) -> None:
        self._console = console
        self._progress = progress
        self._label = label

    def check(self) -> None: ...

    def work(self, parts: FolderParts, stages: Mapping[str, float], max_running: int) -> Work:
        self._console.begin(parts, self._label)
        return Work(self._progress, parts, max_running=max_running)


class ProgressBar:
    """One line that says what is being done and how far it is; called with a label, how many are done, of how many."""

    def __init__(self, console: TextIO) -> None:
        self._console = console
        self._bar: tqdm | None = None
        self._label = ""

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._bar is None or label != self._label:
            self.close()
            self._label = label
            self._bar = tqdm(total=total, desc=label, file=self._console, leave=False, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

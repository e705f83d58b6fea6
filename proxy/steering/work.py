"""Long work in parts: what is finished is kept, so that work that was cut off goes on where it was.

Whoever starts the work says where its parts are kept, watches it, and may break it off. Which part a thing belongs to
depends on its index alone, so the parts of a run that was cut off are the ones an uninterrupted run would have made.
Knows nothing of what the work is about.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

import proxy
from proxy.engines.base import Engine, Generation
from proxy.engines.blocking import MAX_RUNNING, Completion, each_answer
from proxy.errors import SetupError
from proxy.steering.seeds import SCHEME
from vector_store.whole import write_over

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many
Item = TypeVar("Item")
T = TypeVar("T")

_WAVES = 4  # of answers that run at once, in a stretch: its end, where fewer and fewer run, costs little then
PART = 32  # items: what breaking off has to wait for, and what is lost at most; of answers, a stretch is
DIGEST_BYTES = 32
DISCARDED_MEANWHILE = 3  # times another process, having ended the same work, may remove the folder under a write


class Parts(Protocol):
    """Where finished parts are kept, by name."""

    def read(self, name: str) -> bytes | None:
        """The part of this name; None where nothing was written."""

    def write(self, name: str, content: bytes) -> None:
        """Keep a part, whole or not at all. SetupError where that is impossible."""


class NoParts:
    """Keeps nothing."""

    def read(self, name: str) -> bytes | None:
        return None

    def write(self, name: str, content: bytes) -> None: ...


class FolderParts:
    """A file each in a folder, which is made when the first is written. A damaged file counts as none.

    Several processes may do the same work on one folder: they write the same parts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def begun(self) -> bool:
        """Whether there are any."""
        return self._folder.is_dir() and any(self._folder.iterdir())

    def read(self, name: str) -> bytes | None:
        """The part of this name; None where there is none or it is damaged."""
        try:
            stored = (self._folder / name).read_bytes()
        except OSError:
            return None
        digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else None

    def write(self, name: str, content: bytes) -> None:
        """Keep a part, whole or not at all. SetupError where that is impossible."""
        stored = hashlib.sha256(content).digest() + content
        try:
            for _ in range(DISCARDED_MEANWHILE):
                with contextlib.suppress(FileNotFoundError):
                    return self._write(name, stored)
            self._write(name, stored)
        except OSError as error:
            raise SetupError(f"{self._folder}: unfinished work can't be kept there: {error.strerror}") from error

    def _write(self, name: str, stored: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_over(self._folder / name, stored)

    def discard(self) -> None:
        """Remove them all."""
        shutil.rmtree(self._folder, ignore_errors=True)


def folder_parts(folder: Path, *everything: object) -> FolderParts:
    """Where below `folder` the finished parts of some work are kept. `everything` is what the work depends on, as
    msgspec encodes it, besides this version and its way to make seeds, so that no part of any other work is ever taken
    for one of its own."""
    key = msgspec.json.encode((proxy.__version__, SCHEME, *everything))
    return FolderParts(folder / hashlib.sha256(key).hexdigest()[:32])


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a part's result is written and read."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


def packed(type_: Any) -> Codec[Any]:
    """Values of a type that msgspec knows, as MessagePack."""
    return Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(type_).decode)


_COMPLETIONS: Codec[list[Completion]] = packed(list[Completion])


def _go_on() -> None: ...


def _unheard(found: object) -> None: ...


@dataclass(frozen=True)
class Work:
    """One piece of work under way. `check` is called every now and then, at every token of answers for one; what it
    raises ends the work. `max_running`: answers the engine is given at once. `tell` hears of what is found on the way,
    which is of a type that the work names."""

    progress: Progress
    parts: Parts = field(default_factory=NoParts)
    check: Callable[[], None] = _go_on
    max_running: int = MAX_RUNNING
    tell: Callable[[object], None] = _unheard

    def part(self, name: str, codec: Codec[T], make: Callable[[], T]) -> T:
        """What was made before under this name, else what `make` makes now."""
        stored = self.parts.read(name)
        if stored is not None:
            return codec.decode(stored)
        self.check()
        made = make()
        self.parts.write(name, codec.encode(made))
        return made

    def in_parts(
        self, name: str, what: str, items: Sequence[Item], codec: Codec[T], do: Callable[[Sequence[Item]], T]
    ) -> list[T]:
        """`do` to `PART` items at a time: a result for each part."""
        found = self._stored(name, len(items), codec)
        advance = counter(self.progress, what, len(items), done=sum(min(PART, len(items) - start) for start in found))
        for start in range(0, len(items), PART):
            if start not in found:
                some = items[start : start + PART]
                found[start] = self.part(_name(name, start), codec, lambda some=some: do(some))  # type: ignore[misc]
                advance(len(some))
        return [found[start] for start in sorted(found)]

    def answers(self, name: str, what: str, engine: Engine, generations: Sequence[Generation]) -> list[Completion]:
        """The answers, in the order of `generations`."""
        *_, found = self.answers_by_stretch(name, what, engine, generations)
        return [found[index] for index in range(len(generations))]

    def answers_by_stretch(
        self, name: str, what: str, engine: Engine, generations: Sequence[Generation]
    ) -> Iterator[dict[int, Completion]]:
        """The answers that are there by their index in `generations`, at first those made before, then again after
        every stretch. They go through the engine a stretch of parts at a time, whole: which answers run beside which
        changes the last bits, so work that was broken off has to run them alike."""
        found: dict[int, Completion] = {}
        for start, some in self._stored(name, len(generations), _COMPLETIONS).items():
            found.update(enumerate(some, start))
        length = max(_WAVES * self.max_running // PART, 1) * PART
        stretches = [range(at, min(at + length, len(generations))) for at in range(0, len(generations), length)]
        missing = [stretch for stretch in stretches if not all(index in found for index in stretch)]
        n_missing = sum(map(len, missing))
        advance = counter(self.progress, what, len(generations), done=len(generations) - n_missing)
        yield found
        for stretch in missing:
            wanted = [generations[index] for index in stretch]
            with contextlib.closing(
                each_answer(engine, wanted, check=self.check, max_running=self.max_running)
            ) as answers:
                for number, completion in answers:
                    found[stretch[number]] = completion
                    advance(1)
            for start in stretch[::PART]:
                part = [found[index] for index in range(start, min(start + PART, len(generations)))]
                self.parts.write(_name(name, start), _COMPLETIONS.encode(part))
            yield found

    def _stored(self, name: str, n_items: int, codec: Codec[T]) -> dict[int, T]:
        """The parts that were made before, by the index of their first item."""
        contents = {start: self.parts.read(_name(name, start)) for start in range(0, n_items, PART)}
        return {start: codec.decode(content) for start, content in contents.items() if content is not None}


def _name(name: str, start: int) -> str:
    return f"{name}-{start:06}"


def counter(progress: Progress, what: str, total: int, done: int = 0) -> Callable[[int], None]:
    """A callback that is told how many more are done, and reports how many are done in all."""

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(what, done, total)

    progress(what, done, total)
    return advance

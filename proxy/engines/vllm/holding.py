"""Which directives vLLM's workers hold, seen from the server: told once, kept while their requests run, and then for
as long as there is room.

Knows nothing of vLLM but two calls. Lives on one event loop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from proxy.engines.errors import Refusal
from proxy.engines.vllm.directive import Directive


@dataclass
class _Held:
    directive: Directive
    users: int = 0


class Holding:
    """`hold` tells the workers of a directive: True where they keep it, False where there is no room beside the others,
    and a sentence where there never is. `release` takes the ids of those that are needed no more."""

    def __init__(
        self, hold: Callable[[bytes], Awaitable[bool | str]], release: Callable[[list[str]], Awaitable[None]]
    ) -> None:
        self._hold = hold
        self._release = release
        self._all: OrderedDict[str, _Held] = OrderedDict()  # that the workers hold; the one used last comes last
        self._telling = asyncio.Lock()
        self._ended = asyncio.Event()
        self._releasing: set[asyncio.Future[None]] = set()

    def needs(self, id_: str) -> bool:
        """Whether somebody needs a directive now, so that the workers hold it for certain."""
        return id_ in self._all and self._all[id_].users > 0

    @asynccontextmanager
    async def held(self, directive: Directive) -> AsyncIterator[None]:
        """Have the workers hold a directive meanwhile; waits for room. Refusal where there never is any."""
        if directive.empty:
            yield
            return
        async with self._telling:  # one after another, so that a large one is not passed by small ones for ever
            await self._learn(directive)
            self._all[directive.id].users += 1
        try:
            yield
        finally:
            self._end(self._all[directive.id])

    async def learn(self, directive: Directive) -> None:
        """Have the workers hold a directive until its room is needed; waits for room. Refusal where there never is
        any."""
        async with self._telling:
            await self._learn(directive)

    @contextmanager
    def needed(self, id_: str) -> Iterator[Directive]:
        """A directive that was learnt, held for certain meanwhile. KeyError for one that the workers do not hold."""
        held = self._all[id_]
        held.users += 1
        self._all.move_to_end(id_)
        try:
            yield held.directive
        finally:
            self._end(held)

    def _end(self, held: _Held) -> None:
        held.users -= 1
        self._ended.set()

    async def _learn(self, directive: Directive) -> None:
        if directive.id not in self._all:
            await self._tell(directive)
            self._note(directive)
        self._all.move_to_end(directive.id)

    async def _tell(self, directive: Directive) -> None:
        while (answer := await self._ask(directive)) is not True:
            if isinstance(answer, str):
                raise Refusal(answer)
            self._ended.clear()
            if unneeded := [id_ for id_, held in self._all.items() if not held.users]:
                # Half of them, so that those of late stay, and not each new one costs a call.
                leaving = unneeded[: (len(unneeded) + 1) // 2]
                for id_ in leaving:
                    del self._all[id_]
                await self._release(leaving)
            else:
                await self._ended.wait()

    async def _ask(self, directive: Directive) -> bool | str:
        """`hold`. It goes on where whoever waits for it is cancelled: what the workers hold then is not forgotten."""
        asking = asyncio.ensure_future(self._hold(directive.to_bytes()))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda _: self._take_over(directive, asking))
            raise

    def _take_over(self, directive: Directive, asked: asyncio.Future[bool | str]) -> None:
        if not asked.cancelled() and asked.exception() is None and asked.result() is True:
            self._note(directive)

    def _note(self, directive: Directive) -> None:
        """The workers hold a directive once more."""
        if directive.id not in self._all:
            self._all[directive.id] = _Held(directive)
            self._ended.set()
        else:  # somebody else has told it meanwhile
            self._releasing.add(again := asyncio.ensure_future(self._release([directive.id])))
            again.add_done_callback(self._releasing.discard)

"""Which directives vLLM's workers hold, seen from the server: told once, kept while their requests run, and then for
as long as there is room.

Knows nothing of vLLM but two calls. Lives on one event loop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from proxy.engines.errors import Refusal
from proxy.engines.vllm.directive import Directive


class Holding:
    """`hold` tells the workers of a directive: True where they keep it, False where there is no room beside the others,
    and a sentence where there never is. `release` takes the ids of those that are needed no more."""

    def __init__(
        self, hold: Callable[[bytes], Awaitable[bool | str]], release: Callable[[list[str]], Awaitable[None]]
    ) -> None:
        self._hold = hold
        self._release = release
        self._users: OrderedDict[str, int] = OrderedDict()  # those that the workers hold
        self._telling = asyncio.Lock()
        self._ended = asyncio.Event()

    def known(self, id_: str) -> bool:
        """Whether the workers hold it for somebody."""
        return self._users.get(id_, 0) > 0

    @asynccontextmanager
    async def held(self, directive: Directive) -> AsyncIterator[None]:
        """Have the workers hold a directive meanwhile; waits for room. Refusal where there never is any."""
        if directive.empty:
            yield
            return
        await self._take(directive)
        try:
            yield
        finally:
            self._users[directive.id] -= 1
            self._ended.set()

    async def _take(self, directive: Directive) -> None:
        async with self._telling:  # one after another, so that a large one is not passed by small ones for ever
            if directive.id not in self._users:
                await self._tell(directive)
                self._users[directive.id] = 0
            self._users[directive.id] += 1

    async def _tell(self, directive: Directive) -> None:
        data = directive.to_bytes()
        while (answer := await self._hold(data)) is not True:
            if isinstance(answer, str):
                raise Refusal(answer)
            self._ended.clear()
            if unneeded := [id_ for id_, users in self._users.items() if not users]:
                for id_ in unneeded:
                    del self._users[id_]
                await self._release(unneeded)
            else:
                await self._ended.wait()

"""What probes read, as vLLM's workers tell it, for whoever waits for it in the server's process.

Knows nothing of vLLM but one call. Lives on one event loop.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec

from proxy.engines.vllm.residents import ProbeReading

READING_S = 30.0  # to wait for what was sent before the token was


@dataclass
class ProbeReadings:
    """What one answer's probes read, by the token's position."""

    found: dict[int, list[float]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def at(self, position: int) -> list[float]:
        """What was read at a token, once. TimeoutError where that does not come."""
        while position not in self.found:
            self.changed.clear()
            async with asyncio.timeout(READING_S):
                await self.changed.wait()
        return self.found.pop(position)


class Listening:
    """The readings of one model's workers. Close it."""

    def __init__(self) -> None:
        """On the loop that it lives on."""
        import zmq.asyncio  # it comes with vLLM

        self._keys = count()
        self._all: dict[int, ProbeReadings] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="persona-proxy-")
        self._address = f"ipc://{Path(self._folder.name) / 'readings'}"
        self._socket = zmq.asyncio.Context.instance().socket(zmq.PULL)
        self._socket.bind(self._address)
        self._listener = asyncio.create_task(self._listen())

    async def begin(self, listen: Callable[[str], Awaitable[object]]) -> None:
        """Have the workers tell: `listen` gives them an address."""
        await listen(self._address)

    def expect(self) -> tuple[int, ProbeReadings]:
        """A key for a request, and what will be told under it, until it is forgotten."""
        key = next(self._keys)
        self._all[key] = ProbeReadings()
        return key, self._all[key]

    def forget(self, key: int) -> None:
        """Nobody waits for it any more."""
        del self._all[key]

    async def close(self) -> None:
        """Hear no more."""
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        self._socket.close(linger=0)
        self._folder.cleanup()

    async def _listen(self) -> None:
        while True:
            for reading in msgspec.msgpack.decode(await self._socket.recv(), type=list[ProbeReading]):
                if (mine := self._all.get(reading.key)) is not None:
                    mine.found[reading.position] = reading.values
                    mine.changed.set()

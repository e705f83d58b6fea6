"""Which of a model's servers gets a request: where its prompt begins as one before, the same as then, unless that has
much more to do than another.

Knows nothing of HTTP. Lives on the engine's event loop.
"""

import asyncio
import hashlib
import time
from collections.abc import Collection, Sequence

from proxy.engines.base import Talk
from proxy.engines.upstream.replica import Replica

MUCH = (
    4  # requests more than the least loaded has, or half as many again, are too many for a kept prompt to be worth it
)
LOOKED_UP_EVERY_S = 0.05  # while a request waits for a server
KEYED = 2000  # characters of a raw prompt that say where it goes


class Pool:
    """A model's servers."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.replicas = [Replica(url) for url in urls]

    def fit(self, weights: str = "") -> list[Replica]:
        """The servers that may be given a request; those that take plans for these weights, where it is steered."""
        now = time.monotonic()
        return [replica for replica in self.replicas if replica.fit(now) and _takes(replica, weights)]

    def choose(self, key: str, besides: Collection[Replica] = (), weights: str = "") -> Replica | None:
        """The server for a request of this key, none of `besides`; None where none is fit."""
        fit = [replica for replica in self.fit(weights) if replica not in besides]
        if not fit:
            return None
        by_key = sorted(fit, key=lambda replica: _rank(key, replica.url))
        least = min(replica.running for replica in fit)
        if by_key[0].running - least <= max(MUCH, least // 2):
            return by_key[0]
        return min(by_key, key=lambda replica: replica.running)

    async def wait(self, until: float, weights: str = "") -> bool:
        """Wait for a server that is fit, until a time on the monotonic clock; whether there is one."""
        while not self.fit(weights):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(LOOKED_UP_EVERY_S)
        return True

    def problems(self) -> str:
        """Why none is fit, for the log."""
        now = time.monotonic()
        return "; ".join(f"{each.url}: {each.problem or each.state(now)}" for each in self.replicas)


def key_of(talk: Talk) -> str:
    """Equal for prompts that begin alike: a conversation up to its first question, the beginning of a raw prompt."""
    if talk.raw is not None:
        return repr(talk.raw[:KEYED])
    first = next((at for at, message in enumerate(talk.messages) if message["role"] == "user"), 0)
    return repr([(message["role"], message["content"]) for message in talk.messages[: first + 1]])


def _takes(replica: Replica, weights: str) -> bool:
    return not weights or (replica.steers is not None and replica.steers.fingerprint == weights)


def _rank(key: str, url: str) -> bytes:
    """Rendezvous hashing: a server that comes or goes moves no keys but its own."""
    return hashlib.sha256(f"{url} {key}".encode("utf-8", "surrogatepass")).digest()

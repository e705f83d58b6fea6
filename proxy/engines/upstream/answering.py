"""One answer on its way through a model's servers: given to one, and to another as long as it has not begun.

Lives on the engine's event loop; only `cancel` may be called from elsewhere.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, replace

import httpx
import msgspec

from proxy.engines.base import Event, Failure, Finish, Generation, Token, UpstreamOutcome
from proxy.engines.errors import EngineClosed, EngineError, NoUpstream, Refusal, UpstreamBusy, UpstreamRefusal
from proxy.engines.upstream.asking import RETRY_AFTER_S, Lost, TurnedAway, Unreached, ask
from proxy.engines.upstream.body import body_of, path_of, steering_of
from proxy.engines.upstream.events import Reader
from proxy.engines.upstream.plans import Changed, fetch_readings, tell_plan
from proxy.engines.upstream.pool import Pool, key_of
from proxy.engines.upstream.replica import Replica
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.wire import NO_CHANNEL, UNKNOWN

logger = logging.getLogger(__name__)

LOSSES = 3  # after which a request is not given to another server: it may be what ends them
TELLINGS = 3  # of its plan to one server, which forgets it as often
PAUSE_S = 0.25  # before the same servers are asked once more


@dataclass(frozen=True)
class Servers:
    """What all answers of a model are made with. `id` is the model's here, `name` over there."""

    id: str
    name: str
    pool: Pool
    client: httpx.AsyncClient
    wait_s: float


class UpstreamAnswer:
    """One generation under way; also the handle its owner cancels it by."""

    def __init__(self, generation: Generation, on_event: Callable[[Event], None]) -> None:
        assert generation.talk is not None
        self._generation = generation
        self._talk = generation.talk
        self._directive = Directive(generation.plan, generation.probes)
        self._read_as = secrets.token_hex(16)  # nobody else can ask for what is read of this answer
        self._on_event = on_event
        self._key = key_of(generation.talk)
        self.accepted: Future[None] = Future()
        self.accepted.set_running_or_notify_cancel()  # so that whoever waits no more does not cancel it
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End it without a further event. Safe from any thread, and more than once."""
        self._cancelled = True
        self._settle(EngineClosed("the answer was cancelled"))
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    def begin(self, servers: Servers, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[None] | None":
        """Have it made on this loop, which is the one that runs; None where it was cancelled before."""
        self._loop = loop
        if self._cancelled:
            return None
        self._task = loop.create_task(self._make(servers))
        return self._task

    def fail(self, error: Exception) -> None:
        """End it in a Failure."""
        self._fail(error)
        self._cancelled = True
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _tell(self, event: Event) -> None:
        """Tell the owner. One that raises has cancelled."""
        if self._cancelled:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("a listener failed; its answer is cancelled")
            self._cancelled = True
            self._stop()

    def _fail(self, error: Exception) -> None:
        self._settle(error)
        self._tell(Failure(error))

    def _settle(self, error: Exception | None = None) -> None:
        """It is certain whether it begins."""
        with contextlib.suppress(InvalidStateError):  # it was certain before
            if error is None:
                self.accepted.set_result(None)
            else:
                self.accepted.set_exception(error)

    async def _make(self, servers: Servers) -> None:
        try:
            await self._place(servers)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(error)

    async def _place(self, servers: Servers) -> None:
        """Have one of the servers make it. EngineError where none does."""
        besides: set[Replica] = set()
        until: float | None = None  # on the monotonic clock: how long a request that lost its server waits
        losses = 0
        weights = weights_of(self._generation)
        error: EngineError = no_upstream(servers.id)
        while True:
            replica = servers.pool.choose(self._key, besides, weights)
            if replica is None:
                if until is None or not await _again(servers.pool, until, weights):
                    raise error
                besides.clear()
                continue
            besides.add(replica)
            try:
                return await self._ask(servers, replica)
            except TurnedAway as away:
                error = away.error
                if isinstance(error, NoUpstream):
                    error = no_upstream(servers.id, error.retry_after_s)
            except (Unreached, Lost) as loss:
                losses += isinstance(loss, Lost)
                error = no_upstream(servers.id)
                if losses >= LOSSES:
                    raise error from loss
                until = time.monotonic() + servers.wait_s if until is None else until

    async def _ask(self, servers: Servers, replica: Replica) -> None:
        """Have this server make it, and count how that ends."""
        trial = replica.take(time.monotonic())
        outcome: UpstreamOutcome = "cancelled"
        begun = False

        def tell(event: Event) -> None:
            nonlocal begun
            if isinstance(event, Token) and not begun:
                begun = True
                replica.succeed(time.monotonic())
            self._tell(event)

        try:
            await self._send(servers, replica, tell)
            outcome = "ok"
        except UpstreamRefusal as refusal:
            outcome = "refused"
            if refusal.param == NO_CHANNEL:
                raise Refusal("this model has no such channel", "channels") from None
            raise
        except TurnedAway as away:
            outcome = "busy" if isinstance(away.error, UpstreamBusy) else "failed"
            raise
        except Exception as error:
            outcome = "failed"
            if isinstance(error, Unreached):
                replica.failed("it can't be reached")
            if begun:
                logger.warning("%s: the server at %s was lost in the middle of an answer", servers.id, replica.url)
            replica.suspect.set()
            raise
        finally:
            replica.settle(outcome, time.monotonic(), trial=trial)

    async def _send(self, servers: Servers, replica: Replica, tell: Callable[[Event], None]) -> None:
        """The request, and before it its plan, where this server does not know that. It may have been restarted, or its
        room for plans was needed: then it is told anew."""
        directive = self._directive
        steering = steering_of(directive, self._read_as, raw=self._talk.raw is not None)
        body = msgspec.json.encode(body_of(servers.name, self._generation, replica.maker) | steering)
        url = f"{replica.url}{path_of(self._talk)}"

        async def complete(finish: Finish) -> Finish:
            if not directive.probes:
                return finish
            read = await fetch_readings(servers.client, replica.url, self._read_as, directive.probes)
            return replace(finish, read=read)

        for _ in range(TELLINGS):
            if not directive.empty and not replica.knows(directive.id):
                await self._tell_plan(servers, replica, directive)
            try:
                reader = Reader(self._talk.spelling)
                return await ask(servers.client, url, body, reader, self._settle, tell, complete)
            except UpstreamRefusal as refusal:
                if directive.empty or refusal.param != UNKNOWN:
                    raise
                replica.forgot(directive.id)
        raise TurnedAway(no_upstream(servers.id))

    async def _tell_plan(self, servers: Servers, replica: Replica, directive: Directive) -> None:
        try:
            await tell_plan(servers.client, replica.url, directive, self._talk.weights)
        except Changed:
            replica.steers = None
            replica.suspect.set()
            raise TurnedAway(no_upstream(servers.id)) from None
        replica.learnt(directive.id)


def weights_of(generation: Generation) -> str:
    """The weights that whoever makes it has to have; "" where it is neither steered nor read, and any will do."""
    assert generation.talk is not None
    return generation.talk.weights if generation.plan.interventions or generation.probes else ""


def no_upstream(model: str, retry_after_s: int = RETRY_AFTER_S) -> NoUpstream:
    """That no server can be given anything now."""
    return NoUpstream(f"No server behind the model {model!r} can answer now; try again shortly.", retry_after_s)


async def _again(pool: Pool, until: float, weights: str) -> bool:
    """Wait a little, and for a server that is fit; whether there is time left to ask it."""
    await asyncio.sleep(PAUSE_S)
    return time.monotonic() < until and await pool.wait(until, weights)

"""A model that other OpenAI-compatible servers run, as an engine: it takes conversations in place of tokens.

One thread of its own holds the connections. Knows nothing of personas or of our own HTTP.
"""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from proxy.engines.base import Engine, Event, Generation, ModelInfo, Run, Upstream
from proxy.engines.errors import EngineClosed
from proxy.engines.upstream.answering import Servers, UpstreamAnswer, no_upstream, weights_of
from proxy.engines.upstream.body import body_of
from proxy.engines.upstream.checks import Checks
from proxy.engines.upstream.out_of_reach import OutOfReach
from proxy.engines.upstream.pool import Pool
from proxy.engines.vllm.wire import SteerableModel
from proxy.errors import SetupError
from proxy.settings import ModelSettings, UpstreamSettings, split_address

KEPT_S = 2.0  # that an idle connection is; less than servers keep theirs, so that none is used that just ended


def load(settings: ModelSettings, max_batch: int) -> "UpstreamEngine":
    """The engine, once each of its servers was asked how it is; one that is not there is asked again later. SetupError
    where the key can't be had."""
    upstream = settings.upstream or UpstreamSettings()
    return UpstreamEngine(settings, upstream, _key(upstream))


class UpstreamEngine(OutOfReach):
    """The servers of one model."""

    def __init__(self, settings: ModelSettings, upstream: UpstreamSettings, key: str | None) -> None:
        address = split_address(settings.source)
        if address is None:
            raise SetupError(f"{settings.source} is not URL#NAME")
        urls, self._name = address
        self._settings = settings
        self._upstream = upstream
        self._key = key
        self._pool = Pool(urls)
        address_hash = hashlib.sha256(f"upstream {settings.source}".encode()).hexdigest()
        self._unknown = SteerableModel("", 0, 0, address_hash)
        self._answers: set[UpstreamAnswer] = set()
        self._ready = threading.Event()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"upstream-{settings.id}", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._main.done():
            self._main.result()  # raises what kept it from beginning

    @property
    def info(self) -> ModelInfo:
        """`context_length` is the least that a server has told of, 0 where none has. What plans are made for is what
        the first server says that takes any."""
        told = [replica.context_length for replica in self._pool.replicas if replica.context_length]
        steers = next((replica.steers for replica in self._pool.replicas if replica.steers is not None), self._unknown)
        return ModelInfo(
            id=self._settings.id,
            family=steers.family,
            n_layers=steers.n_layers,
            hidden_size=steers.hidden_size,
            context_length=self._settings.context_length or min(told, default=0),
            fingerprint=steers.fingerprint,
            engine="upstream",
            device="",
            dtype="",
            world=steers.world,
            in_words=True,
            by_prompt=self._upstream.method == "prompt",
        )

    @property
    def upstreams(self) -> list[Upstream]:
        """Each server as it is now. Any thread may ask."""
        now = time.monotonic()
        return [
            Upstream(each.url, each.state(now), each.problem, each.running, dict(each.ended))
            for each in self._pool.replicas
        ]

    def drain(self, url: str, draining: bool) -> None:
        """Give a server nothing new, or give it requests again. KeyError."""
        {replica.url: replica for replica in self._pool.replicas}[url].draining = draining

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        """Have a generation made and return at once. Raises Refusal, NoUpstream where no server can be given it now,
        or, once closed, EngineClosed."""
        if self._closed:
            raise EngineClosed("the model was shut down")
        makers = {replica.maker for replica in self._pool.fit(weights_of(generation))}
        if not makers:
            raise no_upstream(self._settings.id)
        for maker in makers:
            body_of(self._name, generation, maker)
        answer = UpstreamAnswer(generation, on_event)
        self._loop.call_soon_threadsafe(self._begin, answer)
        return answer

    def close(self) -> None:
        """End the connections. Answers under way end in a Failure. More than once is harmless."""
        if not self._closed:
            self._closed = True
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()

    def _begin(self, answer: UpstreamAnswer) -> None:
        if self._closed:
            answer.fail(EngineClosed("the model was shut down"))
        elif (task := answer.begin(self._servers, self._loop)) is not None:
            self._answers.add(answer)
            task.add_done_callback(lambda _: self._answers.discard(answer))

    def _stop(self) -> None:
        for answer in list(self._answers):
            answer.fail(EngineClosed("the model was shut down"))
        self._main.cancel()

    def _run(self) -> None:
        """The thread."""
        try:
            self._main = self._loop.create_task(self._serve())
            self._loop.run_until_complete(asyncio.wait([self._main]))
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        timeout = httpx.Timeout(self._upstream.timeout_s, connect=self._upstream.connect_timeout_s, pool=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_S)
        async with httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits) as client:
            self._servers = Servers(self._settings.id, self._name, self._pool, client, self._upstream.wait_s)
            checks = Checks(client, self._settings.id, self._name, self._upstream.check_every_s)
            await asyncio.gather(*(checks.check(replica) for replica in self._pool.replicas))
            self._ready.set()
            async with asyncio.TaskGroup() as watching:
                for replica in self._pool.replicas:
                    watching.create_task(checks.watch(replica))


if TYPE_CHECKING:
    _: Engine = UpstreamEngine(ModelSettings("m", "http://host/v1#m"), UpstreamSettings(), None)


def _key(settings: UpstreamSettings) -> str | None:
    if settings.key_env is not None:
        key, place = os.environ.get(settings.key_env, ""), f"the variable {settings.key_env}"
    elif settings.key_file is not None:
        try:
            key, place = settings.key_file.read_text(encoding="utf-8"), str(settings.key_file)
        except (OSError, UnicodeDecodeError):
            raise SetupError(f"the servers' key can't be read from {settings.key_file}") from None
    else:
        return None
    if not (key := key.strip()) or not key.isprintable() or not key.isascii():
        raise SetupError(f"{place} holds no key for the model's servers")
    return key

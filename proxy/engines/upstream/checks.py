"""Whether a server has the model and is well: asked every now and then, and sooner where something went wrong.

One that answers requests is well: it is not asked, which would fill its log.
"""

import asyncio
import contextlib
import logging
import time

import httpx
import msgspec

from proxy.engines.upstream.body import LLAMA_CPP, OURS
from proxy.engines.upstream.replica import Replica
from proxy.engines.vllm.wire import MODEL_PATH, SteerableModel
from proxy.errors import first_line

logger = logging.getLogger(__name__)

SOONER_S = 1.0  # between checks of one that is not well
TIMEOUT_S = 10.0
# Where servers of a known make tell that they can't answer; below the address without its /v1.
_HEALTH = {"vllm": "/health", "sglang": "/health", LLAMA_CPP: "/health", OURS: "/ready"}


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    context_length: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class Checks:
    """The checks of the servers of one model, which is called `name` there, and `ours` here."""

    def __init__(self, client: httpx.AsyncClient, ours: str, name: str, every_s: float) -> None:
        self._client = client
        self._ours = ours
        self._name = name
        self._every_s = every_s

    async def watch(self, replica: Replica) -> None:
        """Check a server for ever."""
        while True:
            pause_s = self._every_s if replica.healthy else min(self._every_s, SOONER_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):  # wait_for of 3.11 forgets that it was cancelled once it is woken
                    await replica.suspect.wait()
            if not replica.suspect.is_set() and replica.healthy and replica.answered > time.monotonic() - pause_s:
                continue
            replica.suspect.clear()
            await self.check(replica)

    async def check(self, replica: Replica) -> None:
        """Have a server's health be what it is now. A change is told in the log."""
        before = replica.problem
        try:
            problem = await self._problem(replica)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            replica.failed("it can't be reached")
        except httpx.HTTPError:
            replica.silent("it does not answer")
        except Exception as error:  # such as an address that is none; the other servers are checked on
            replica.failed(f"it can't be asked: {first_line(error)}")
        else:
            if problem is None:
                replica.passed()
            else:
                replica.failed(problem)
        if replica.problem == before:
            return
        if replica.healthy:
            logger.info("%s: the server at %s is well", self._ours, replica.url)
        else:
            logger.warning("%s: the server at %s gets nothing new: %s", self._ours, replica.url, replica.problem)

    async def _problem(self, replica: Replica) -> str | None:
        """Why it is not well, in one line. httpx.HTTPError where it can't be asked."""
        listed = await self._client.get(f"{replica.url}/models", timeout=TIMEOUT_S)
        if listed.status_code in (401, 403):
            return f"it refuses our key: {listed.status_code}"
        if listed.status_code in (404, 405):
            return None  # it has no list
        if listed.status_code != 200:
            return f"it lists its models with {listed.status_code}"
        try:
            models = msgspec.json.decode(listed.content, type=_Models).data
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return "its list of models is none of OpenAI's form"
        found = next((model for model in models if model.id == self._name), None)
        if found is None and models and models[0].owned_by == LLAMA_CPP:
            found = models[0]  # it has one, and answers to any name
        if found is None:
            names = ", ".join(model.id for model in models[:8])
            return f"it has no model {self._name!r}; it has: {names or 'none'}"
        replica.maker = found.owned_by or ""
        replica.context_length = found.max_model_len or found.context_length
        replica.steers = await self._steers(replica)
        return await self._unready(replica)

    async def _steers(self, replica: Replica) -> SteerableModel | None:
        """What plans are to be made for: there where it is a vLLM with our plugin."""
        if replica.maker != "vllm":
            return None
        told = await self._client.get(f"{replica.url}{MODEL_PATH}", timeout=TIMEOUT_S)
        if told.status_code != 200:
            return None
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return msgspec.json.decode(told.content, type=SteerableModel)
        return None

    async def _unready(self, replica: Replica) -> str | None:
        path = _HEALTH.get(replica.maker)
        if path is None:
            return None
        told = await self._client.get(replica.url.removesuffix("/v1") + path, timeout=TIMEOUT_S)
        return f"{path} says {told.status_code}" if told.status_code >= 500 else None

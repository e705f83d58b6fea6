"""One request to one server, from its connection to its last event, and what is made of everything that goes wrong.

Knows nothing of how servers are chosen.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgspec

from proxy.engines.base import Event, Finish
from proxy.engines.errors import EngineError, NoUpstream, UpstreamBusy, UpstreamFailure, UpstreamRefusal, UpstreamSilent
from proxy.engines.upstream.events import CutShort, Frames, Reader, StreamError

logger = logging.getLogger(__name__)

MAX_ERROR = 64 * 1024  # bytes of an error that are read
ENDING_S = 1.0  # for a connection to end behind its last event, so that it can be used again
RETRY_AFTER_S, LONGEST_RETRY_S = 2, 600  # where a server names no time, and where it names a long one
SILENT = "The server behind this model said nothing for too long."
STOPPING = "server_stopping"  # the code by which servers like ours tell that they stop


class Unreached(Exception):
    """The connection could not be made: the server has seen nothing of the request."""


class Lost(Exception):
    """The connection broke before the first token."""


class TurnedAway(Exception):
    """The server takes it not now; another may. `error` is what to tell where no other does."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


async def ask(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    reader: Reader,
    accepted: Callable[[], None],
    tell: Callable[[Event], None],
    complete: Callable[[Finish], Awaitable[Finish]],
) -> None:
    """Have a request answered, and `tell` its events; `accepted` is called once the server takes it, and `complete`
    adds to the last event what the stream does not have. Unreached, Lost, TurnedAway, or an EngineError in words for a
    client."""
    told = False

    def tell_tokens(frame: bytes) -> None:
        nonlocal told
        for token in reader.feed(frame):
            told = True
            tell(token)

    try:
        async with client.stream("POST", url, content=body) as response:
            if response.status_code != 200:
                raise await error_of(response)
            if "event-stream" not in response.headers.get("content-type", ""):
                raise UpstreamFailure("it does not stream")
            accepted()
            data = response.aiter_bytes()
            await _read(data, tell_tokens)
            tell(await complete(reader.finish()))
            with contextlib.suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(ENDING_S):
                    async for _ in data:
                        pass
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Unreached from error
    except httpx.TimeoutException:
        raise UpstreamSilent(SILENT) from None
    except httpx.HTTPError as error:
        if not told:
            raise Lost from error
        raise UpstreamFailure("The server behind this model was lost in the middle of its answer.") from error
    except StreamError as error:
        raise _in_stream(error.told, told=told) from None
    except UpstreamFailure as error:
        if not told and isinstance(error, CutShort):
            raise Lost from error
        raise UpstreamFailure(f"The server behind this model failed: {error.message}.") from None


async def _read(data: AsyncIterator[bytes], take: Callable[[bytes], None]) -> None:
    """Hand on each frame up to the last."""
    frames = Frames()
    async for part in data:
        for frame in frames.feed(part):
            if frame == b"[DONE]":
                return
            take(frame)


async def error_of(response: httpx.Response) -> Exception:
    """What a status that is not 200 comes to."""
    content = b""
    async for data in response.aiter_bytes():
        content += data
        if len(content) >= MAX_ERROR:
            break
    told = _told(content)
    status = response.status_code
    reason = "" if status in (401, 403) else _message(told)[:300]  # where some repeat the key
    logger.info("%s answered %d: %s", response.url, status, reason)
    retry_s = _retry_after(response.headers.get("retry-after"))
    if status == 429:
        return TurnedAway(UpstreamBusy("The servers behind this model are full; try again shortly.", retry_s))
    if status == 503:
        return TurnedAway(NoUpstream("The servers behind this model can't answer now; try again shortly.", retry_s))
    if status == 502:
        return TurnedAway(UpstreamFailure("The server behind this model failed: it answered 502."))
    if status in (408, 504):
        return UpstreamSilent(SILENT)
    if status in (400, 413, 415, 422):
        return _refusal(told)
    if status in (401, 403):
        return UpstreamFailure(f"The server behind this model does not let us in: it answered {status}.")
    return UpstreamFailure(f"The server behind this model failed: it answered {status}.")


def _in_stream(error: Any, *, told: bool) -> Exception:
    """What an error inside a stream comes to."""
    code, kind = _field(error, "code"), _field(error, "type")
    if code == STOPPING and not told:
        return Lost()
    if kind == "invalid_request_error" or code == "400":
        return _refusal(error)
    logger.info("a stream ended in an error: %s", _message(error)[:300])
    return UpstreamFailure("The server behind this model failed in the middle of its answer.")


def _refusal(error: Any) -> UpstreamRefusal:
    message = f"The server behind this model refuses the request: {_message(error)}"
    return UpstreamRefusal(message, _field(error, "param"), _field(error, "code"))


def _told(content: bytes) -> Any:
    """The error in a body of OpenAI's form, or of FastAPI's, or the body as it is."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return content.decode("utf-8", "replace")
    if not isinstance(body, dict):
        return str(body)
    return body.get("error") or body.get("detail") or body


def _message(error: Any) -> str:
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message).strip() or "it does not say why"


def _field(error: Any, name: str) -> str | None:
    value = error.get(name) if isinstance(error, dict) else None
    return None if value is None else str(value)


def _retry_after(header: str | None) -> int:
    try:
        return min(max(int(header or ""), 1), LONGEST_RETRY_S)
    except ValueError:  # a date, or none
        return RETRY_AFTER_S

"""What a client is told of an engine's errors: the field of the request they are about, and their place among ours.

Pure, but for the log that unforeseen errors are written to.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from proxy.engines.errors import (
    EngineClosed,
    EngineError,
    MemoryFull,
    NoUpstream,
    Part,
    PromptTooLarge,
    PromptTooLong,
    Refusal,
    UpstreamBusy,
    UpstreamFailure,
    UpstreamRefusal,
    UpstreamSilent,
)
from proxy.errors import (
    ContextLengthExceeded,
    EngineFailure,
    InvalidRequest,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ProxyError,
    UpstreamFailed,
    UpstreamTimedOut,
)

logger = logging.getLogger(__name__)

FIELDS: dict[Part, str] = {
    "prompt": "messages",
    "begun": "messages",
    "logit_bias": "logit_bias",
    "channels": "steering.channels",
    "calls": "tools",
    "json_schema": "response_format",
}
POSSIBLE: dict[Part, str] = {"channels": "final"}


def client_error(error: Exception) -> ProxyError:
    """What a client is told of what an engine raised; the details of an unforeseen failure stay in the log."""
    if isinstance(error, ProxyError):
        return error
    if isinstance(error, EngineError):
        return _told(error)
    logger.error("an engine failed", exc_info=error)
    return EngineFailure("The model failed while it made the answer; the server's log says more.")


def _told(error: EngineError) -> ProxyError:
    match error:
        case Refusal():
            return _refusal(error)
        case MemoryFull():
            return OutOfMemory(error.message)
        case EngineClosed():
            return ModelUnavailable(error.message)
        case NoUpstream():
            return ModelUnavailable(error.message, retry_after_s=error.retry_after_s)
        case UpstreamBusy():
            return Overloaded(error.message, retry_after_s=error.retry_after_s)
        case UpstreamSilent():
            return UpstreamTimedOut(error.message)
        case UpstreamFailure():
            return UpstreamFailed(error.message)
    return EngineFailure(error.message)


def _refusal(error: Refusal) -> InvalidRequest:
    if isinstance(error, UpstreamRefusal):
        kind = ContextLengthExceeded if error.code == ContextLengthExceeded.code else InvalidRequest
        return kind(error.message, param=error.param)
    if error.part is None:
        return InvalidRequest(error.message)
    field = FIELDS[error.part]
    match error:
        case PromptTooLong():
            return ContextLengthExceeded(error.message, param=field)
        case PromptTooLarge():
            return InvalidRequest(error.message, param=field, code="out_of_memory")
    possible = f"; possible: {POSSIBLE[error.part]}" if error.part in POSSIBLE else ""
    return InvalidRequest(f"{field}: {error.message}{possible}", param=field)


@contextmanager
def told_as(names: Mapping[str, str]) -> Iterator[None]:
    """Raises what goes wrong inside as it is told to a client: about its own fields, which `names` has as `rename`
    takes them."""
    try:
        yield
    except EngineError as error:
        raise rename(client_error(error), names) from error
    except ProxyError as error:
        rename(error, names)
        raise


def rename(error: ProxyError, names: Mapping[str, str]) -> ProxyError:
    """The error, about the field as its client wrote it: `names` has the beginnings of fields as chats have them, and
    what stands in their place."""
    known = [name for name in names if (error.param or "").startswith(name)]
    if error.param is not None and known:
        longest = max(known, key=len)
        field = names[longest] + error.param.removeprefix(longest)
        if error.message.startswith(error.param):
            error.message = field + error.message.removeprefix(error.param)
        error.param = field
    return error

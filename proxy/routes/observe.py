"""A request id on every response, and one log line per request: who asked what of which model, never the content.

A response whose answer may be steered also says in a header how it was. Another tells to how many tokens it was
limited, where the request asked for more than there is room for.
"""

import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import Message, Scope

logger = logging.getLogger("proxy.requests")

REQUEST_ID = "x-request-id"
PERSONA_METHOD = "x-persona-method"
MAX_TOKENS = "x-max-tokens"
HEADERS = (REQUEST_ID, PERSONA_METHOD, MAX_TOKENS)
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass
class Record:
    """What is known of a request so far. Handlers add `facts`; the line is written once."""

    request_id: str
    started_s: float = field(default_factory=time.perf_counter)
    status: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    held: bool = False  # a handler writes the line itself when its answer ends
    written: bool = False


def record_of(scope: Scope) -> Record:
    """The request's record, made at the first call. A client's own id is kept when it is harmless in a log."""
    state = scope["state"]
    if "record" not in state:
        given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
        state["record"] = Record(given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}")
    record: Record = state["record"]
    return record


async def before_send(message: Message, scope: Scope) -> None:
    """Litestar's hook around every message sent, errors included."""
    if scope["type"] != ScopeType.HTTP:
        return
    record = record_of(scope)
    if message["type"] == "http.response.start":
        record.status = message["status"]
        headers = MutableScopeHeaders.from_message(message)
        headers[REQUEST_ID] = record.request_id
        if "method" in record.facts:
            headers[PERSONA_METHOD] = record.facts["method"]
        if "max_tokens" in record.facts:
            headers[MAX_TOKENS] = str(record.facts["max_tokens"])
    elif message["type"] == "http.response.body" and not message.get("more_body") and not record.held:
        write(scope)


def write(scope: Scope) -> None:
    """Write the request's line, if it has not been written yet."""
    record = record_of(scope)
    if record.written:
        return
    record.written = True
    duration_ms = (time.perf_counter() - record.started_s) * 1000
    facts = "".join(f" {name}={value}" for name, value in record.facts.items())
    # Quoted, so that a path can't forge a line.
    line = f"{scope.get('method')} {quote(scope['path'])} {record.status}{facts}"
    logger.info("%s %s ms=%.0f", record.request_id, line, duration_ms)

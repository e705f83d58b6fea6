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

from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import Message, Scope

from proxy.chat.turn import Turn
from proxy.services import services_of
from proxy.telemetry.logs import fields
from proxy.telemetry.metrics import EndedRequest, Outcome

logger = logging.getLogger("proxy.requests")

REQUEST_ID = "x-request-id"
PERSONA_METHOD = "x-persona-method"
MAX_TOKENS = "x-max-tokens"
HEADERS = (REQUEST_ID, PERSONA_METHOD, MAX_TOKENS)
PREFIX = "counted_behind"  # in a handler's `opt`: what its path lacks of the one that it is counted with
STATUS_CLIENT_GONE = 499  # what proxies write in their logs for a client that left; nobody receives it
_TYPE_IN_PATH = re.compile(r":\w+}")
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass
class Record:
    """What is known of a request so far. Handlers add `facts`; the line is written once. `turn` is there where a model
    is to answer. `failed`: its stream ended with an error, though its status was a good one."""

    request_id: str
    started_s: float = field(default_factory=time.perf_counter)
    status: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    held: bool = False  # a handler writes the line itself when its answer ends
    written: bool = False
    turn: Turn | None = None
    failed: bool = False

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self.failed or (self.status >= 500):
            return "failed"
        if self.status == STATUS_CLIENT_GONE or self.facts.get("ended") == "early":
            return "cancelled"
        if self.status == 429:
            return "overloaded"
        return "refused" if self.status >= 400 else "ok"


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
    if scope["type"] != ScopeType.HTTP or message.get("more_body"):
        return  # a stream comes here with every token
    record = record_of(scope)
    if message["type"] == "http.response.start":
        record.status = message["status"]
        headers = MutableScopeHeaders.from_message(message)
        headers[REQUEST_ID] = record.request_id
        if "method" in record.facts:
            headers[PERSONA_METHOD] = record.facts["method"]
        if "max_tokens" in record.facts:
            headers[MAX_TOKENS] = str(record.facts["max_tokens"])
    elif message["type"] == "http.response.body":
        if record.held:
            _describe_span(scope)  # which ends with this message
        else:
            write(scope)


def write(scope: Scope) -> None:
    """Write the request's line and count it, if that has not been done yet."""
    record = record_of(scope)
    if record.written:
        return
    record.written = True
    seconds = time.perf_counter() - record.started_s
    ended = EndedRequest(
        endpoint=_endpoint(scope),
        model=record.facts.get("model", ""),
        outcome=record.outcome,
        started_s=record.started_s,
        seconds=seconds,
        turn=None if record.turn is None else record.turn.summary(),
    )
    services_of(ASGIConnection(scope)).metrics.note(ended)
    _describe_span(scope)
    facts = "".join(f" {name}={value}" for name, value in record.facts.items())
    method, path = scope.get("method"), quote(scope["path"])  # quoted, so that a path can't forge a line
    told = {"request_id": record.request_id, "http_method": method, "path": path, "status": record.status}
    extra = fields(**told, **record.facts, ms=round(seconds * 1000))
    line = f"{method} {path} {record.status}{facts}"
    logger.info("%s %s ms=%.0f", record.request_id, line, seconds * 1000, extra=extra)


def _describe_span(scope: Scope) -> None:
    record, tracing = record_of(scope), services_of(ASGIConnection(scope)).tracing
    if tracing is not None:
        turn = None if record.turn is None else record.turn.summary()
        tracing.describe(str(scope.get("method")), _endpoint(scope), record.facts, turn)


def _endpoint(scope: Scope) -> str:
    """The route that the address led to, with /v1 whether the client wrote that or not; "none" for no route."""
    route = scope.get("path_template")
    if not route:
        return "none"
    return str(scope["route_handler"].opt.get(PREFIX, "")) + _TYPE_IN_PATH.sub("}", route)

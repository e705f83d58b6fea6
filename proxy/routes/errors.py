"""Every exception becomes an OpenAI-shaped response here, Litestar's own included."""

import logging
import time
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ExceptionHandlersMap

from proxy.chat.refusals import client_error
from proxy.engines.errors import EngineError
from proxy.errors import (
    BodyTooLarge,
    InvalidRequest,
    JobFailed,
    LoadFailed,
    MethodNotAllowed,
    ModelUnavailable,
    NotFound,
    ProxyError,
    VectorConflict,
    VectorsUnavailable,
    error_body,
)
from proxy.protocol.errors import ErrorResponse
from proxy.routes import observe
from proxy.routes.auth import may_administer
from proxy.services import services_of
from vector_store import BadVectorFile, ImportRefused, ReadOnlyVectors, VectorExists, VectorNotFound, VectorStoreError

logger = logging.getLogger(__name__)


class ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


def declared(*statuses: int) -> dict[int, ResponseSpec]:
    """The error responses of an endpoint, for the OpenAPI page."""
    return {status: ResponseSpec(ErrorResponse, generate_examples=False) for status in statuses}


def note(request: Request[Any, Any, Any], error: ProxyError) -> None:
    """Have the operator find an error that a client is told."""
    path = request.scope.get("path_template")
    route = f"{request.method} {path}" if path else None
    services_of(request).errors.note(error, route, observe.record_of(request.scope).request_id, time.time())


def _respond(
    request: Request[Any, Any, Any], error: ProxyError, headers: dict[str, str] | None = None
) -> Response[dict[str, Any]]:
    note(request, error)
    headers = dict(headers or {})
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    elif error.status >= 500:
        # The OpenAI SDKs repeat a 5xx unless told not to; what failed for good would fail again.
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(error_body(error), status_code=error.status, headers=headers)


def _proxy_error(request: Request[Any, Any, Any], error: ProxyError) -> Response[dict[str, Any]]:
    if error.status == 500 and not isinstance(error, JobFailed):  # which its queue has a line of
        logger.error("%s failed: %s", request.url.path, error.message, exc_info=error)
    if isinstance(error, LoadFailed) and not may_administer(request):
        error = ModelUnavailable(error.discreet)
    return _respond(request, error)


def _engine_error(request: Request[Any, Any, Any], error: EngineError) -> Response[dict[str, Any]]:
    return _proxy_error(request, client_error(error))


def _litestar_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    path = request.url.path
    if error.status_code == 404:
        return _respond(request, NotFound(f"There is nothing at {path}."))
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {})["allow"].split(", ")))
        message = f"{request.method} is not possible at {path}; possible: {allowed}"
        return _respond(request, MethodNotAllowed(message), {"allow": allowed})
    if error.status_code == 413:
        limit = request.route_handler.resolve_request_max_body_size()
        return _respond(request, BodyTooLarge(f"The body is larger than the {limit} bytes this server takes."))
    if isinstance(error, ValidationException):
        return _respond(request, _wrong_parameter(error))
    if error.status_code < 500:
        return _respond(request, InvalidRequest(error.detail))
    if "client disconnected" in error.detail:
        return _client_gone(request, ClientGone())
    return _unexpected(request, error)


def _wrong_parameter(error: ValidationException) -> InvalidRequest:
    """What Litestar checks itself: query parameters, and whether there is a body (what is in it, StrictBody does)."""
    for wrong in error.extra or ():
        if isinstance(wrong, dict) and wrong.get("source") == "query":
            name, what = wrong["key"], wrong["message"].replace("`", "")
            return InvalidRequest(f"{name}: {what[:1].lower()}{what[1:]}", param=name)
    return InvalidRequest("The body is missing; possible: a JSON object.", code="invalid_json")


def _vector_error(request: Request[Any, Any, Any], error: VectorStoreError) -> Response[dict[str, Any]]:
    match error:
        case VectorNotFound():
            return _respond(request, NotFound(str(error)))
        case ReadOnlyVectors() | VectorExists():
            return _respond(request, VectorConflict(str(error)))
        case BadVectorFile() | ImportRefused():
            return _respond(request, InvalidRequest(str(error), param="file"))
    logger.error("%s: the vectors can't be reached: %s", request.url.path, error)
    return _respond(request, VectorsUnavailable("The place this server keeps its vectors in can't be reached."))


def _client_gone(request: Request[Any, Any, Any], _: ClientGone) -> Response[None]:
    record = observe.record_of(request.scope)
    if record.turn is not None:
        record.facts |= {"tokens": record.turn.tokens, "ended": "early"}
    return Response(None, status_code=observe.STATUS_CLIENT_GONE)


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    logger.error("%s failed unexpectedly", request.url.path, exc_info=error)
    return _respond(request, ProxyError("The server made a mistake; its log says more."))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ProxyError: _proxy_error,
    EngineError: _engine_error,
    HTTPException: _litestar_error,
    VectorStoreError: _vector_error,
    ClientGone: _client_gone,
    Exception: _unexpected,
}

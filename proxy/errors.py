"""Every error the proxy raises on purpose, and its one mapping to an OpenAI error body.

ProxyError
├── InvalidRequest            400  a field is wrong; `param` names it
│   ├── ContextLengthExceeded 400  the prompt does not fit the model
│   └── VectorUnavailable     400  persona known, but no usable vector for this model
├── AuthenticationFailed      401
├── PermissionDenied          403
├── NotFound                  404
│   ├── ModelNotFound         404
│   └── PersonaNotFound       404
├── MethodNotAllowed          405
├── UnsupportedMediaType      415  a JSON body that says it is something else
├── RequestTimeout            408  the request's body did not come
├── ModelBusy                 409  it can't be unloaded now: loading, or in use
├── VectorConflict            409  a vector that may not be changed, or whose id is taken
├── TraitConflict             409  a trait that may not be changed, or whose names are taken
├── BodyTooLarge              413
├── Overloaded                429  the model's queue is full; `retry_after_s`
├── ModelUnavailable          503  still loading, unloaded, or it failed to load
│   └── LoadFailed            503  why is told to whom `/api` is open
├── OutOfMemory               503  the model has no memory left for it beside others; `retry_after_s`
├── VectorsUnavailable        503  the place vectors are kept in can't be reached
├── TraitsUnavailable         503  the folder traits are kept in can't be read or written
├── HubFailed                 502  the Hugging Face hub did not do what it was asked to
├── UpstreamFailed            502  the server that a model runs on failed
├── UpstreamTimedOut          504  the server that a model runs on said nothing for too long
├── ServerStopping            503  the server shuts down; `retry_after_s`
├── JobsUnavailable           503  the queue of jobs can't be used, or the server shuts down
├── EngineFailure             500  the model failed while it ran
├── JobFailed                 500  the job that was waited for failed, or was cancelled
└── SetupError                —    the operator's mistake: one line and exit code 2, never HTTP
"""

from typing import Any


class ProxyError(Exception):
    """Base of all: `status`, `code` and `type` are what the client reads."""

    status = 500
    code = "internal_error"
    type = "server_error"
    retry_after_s: int | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(ProxyError):
    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class VectorUnavailable(InvalidRequest):
    code = "vector_unavailable"


class AuthenticationFailed(ProxyError):
    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class PermissionDenied(ProxyError):
    status = 403
    code = "permission_denied"
    type = "permission_error"


class NotFound(ProxyError):
    status = 404
    code = "not_found"
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    code = "model_not_found"

    def __init__(self, message: str, *, param: str = "model") -> None:
        super().__init__(message, param=param)


class PersonaNotFound(NotFound):
    code = "persona_not_found"


class MethodNotAllowed(ProxyError):
    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


class RequestTimeout(ProxyError):
    status = 408
    code = "request_timeout"
    type = "invalid_request_error"


class UnsupportedMediaType(ProxyError):
    status = 415
    code = "unsupported_media_type"
    type = "invalid_request_error"


class ModelBusy(ProxyError):
    status = 409
    code = "model_busy"
    type = "invalid_request_error"


class VectorConflict(ProxyError):
    status = 409
    code = "vector_conflict"
    type = "invalid_request_error"


class TraitConflict(ProxyError):
    status = 409
    code = "trait_conflict"
    type = "invalid_request_error"


class BodyTooLarge(ProxyError):
    status = 413
    code = "body_too_large"
    type = "invalid_request_error"


class Overloaded(ProxyError):
    status = 429
    code = "queue_full"
    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelUnavailable(ProxyError):
    status = 503
    code = "model_unavailable"

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LoadFailed(ModelUnavailable):
    """`discreet` says it without the reason, which may name folders that are none of a client's business."""

    def __init__(self, model_id: str, reason: str | None) -> None:
        path = f"/api/models/{model_id}"
        super().__init__(f"The model {model_id!r} failed to load: {reason} (POST {path}/load tries again)")
        self.discreet = f"The model {model_id!r} failed to load; GET {path} says why, and POST {path}/load tries again."


class OutOfMemory(ProxyError):
    status = 503
    code = "out_of_memory"
    retry_after_s = 2


class ServerStopping(ProxyError):
    status = 503
    code = "server_stopping"
    retry_after_s = 5

    def __init__(self) -> None:
        super().__init__("The server is shutting down.")


class HubFailed(ProxyError):
    status = 502
    code = "hub_failed"


class UpstreamFailed(ProxyError):
    status = 502
    code = "upstream_failed"


class UpstreamTimedOut(ProxyError):
    status = 504
    code = "upstream_timeout"


class VectorsUnavailable(ProxyError):
    status = 503
    code = "vectors_unavailable"


class TraitsUnavailable(ProxyError):
    status = 503
    code = "traits_unavailable"


class JobsUnavailable(ProxyError):
    status = 503
    code = "jobs_unavailable"


class EngineFailure(ProxyError):
    code = "engine_failure"


class JobFailed(ProxyError):
    code = "job_failed"


class SetupError(ProxyError):
    """A bad setting, a missing file or a port in use: shown as one line, exit code 2."""


MAX_MESSAGE = 4000  # characters of a message, and of a parameter's name: both may hold what the client sent


def error_body(error: ProxyError) -> dict[str, Any]:
    """The body of an OpenAI error response."""
    return {
        "error": {
            "message": _shortened(error.message),
            "type": error.type,
            "param": None if error.param is None else _shortened(error.param),
            "code": error.code,
        }
    }


def _shortened(text: str) -> str:
    """The text without its middle where it is too long: what is possible stands at the end."""
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[: MAX_MESSAGE // 2]} ... {text[-MAX_MESSAGE // 2 :]}"


def first_line(error: BaseException) -> str:
    """What an error says at first, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__

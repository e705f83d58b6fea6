"""The body of every error, on every route."""

import msgspec


class ErrorDetail(msgspec.Struct):
    """`param` is the request's field at fault, e.g. "messages[0].role"; `code` is a stable word for programs."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorResponse(msgspec.Struct):
    error: ErrorDetail

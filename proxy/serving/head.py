"""HEAD wherever there is GET, and OPTIONS of the whole server: uptime monitors and balancers ask so. uvicorn leaves the
body of an answer to HEAD out by itself."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST"


def head_as_get(app: ASGIApp) -> ASGIApp:
    """`app`, which is told GET for HEAD (RFC 9110, section 9.3.2: the same headers), and whose `Allow` names both."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return

        async def with_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(name, _with_head(name, value)) for name, value in message["headers"]]
            await send(message)

        if scope["method"] == "OPTIONS" and scope["path"] == "*":
            await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", _METHODS)]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # a copy: uvicorn has to know what was asked
        await app(scope, receive, with_head)

    return answer


def _with_head(name: bytes, value: bytes) -> bytes:
    methods = value.split(b", ")
    if name.lower() != b"allow" or b"GET" not in methods:
        return value
    return b", ".join(sorted({*methods, b"HEAD"}))

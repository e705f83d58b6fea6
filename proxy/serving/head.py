"""HEAD wherever there is GET: uptime monitors and balancers ask so. uvicorn leaves the body out by itself."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


def head_as_get(app: ASGIApp) -> ASGIApp:
    """`app`, which is told GET for HEAD (RFC 9110, section 9.3.2: the same headers)."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # a copy: uvicorn has to know what was asked
        await app(scope, receive, send)

    return answer

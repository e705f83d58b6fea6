"""API keys. The client keys open /v1, the admin key opens everything.

/api takes the admin key; where no admin key is set it takes the client keys, and with no keys at all everything is
open to everyone but foreign web pages. /metrics is as open as /api, and takes the metrics key besides. /health, /ready
and /schema are always open: they tell nothing but that the server is there, and which models it has.
"""

import hmac
from collections.abc import Iterable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from proxy.errors import AuthenticationFailed, PermissionDenied
from proxy.routes.browsers import refuse_foreign_pages
from proxy.services import services_of

Connection = ASGIConnection[Any, Any, Any, Any]


def presented_key(connection: Connection) -> str | None:
    """The key of `Authorization: Bearer ...`, None without one."""
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def matching(key: str | None, keys: Iterable[str]) -> str | None:
    """The one of `keys` that was presented. Takes the same time whichever it is."""
    found = None
    for known in keys:
        # Clients send letters beyond ASCII as UTF-8 or as Latin-1; headers are read as the latter.
        as_sent = known.encode().decode("latin-1")
        if hmac.compare_digest((key or "").encode(), as_sent.encode()) | hmac.compare_digest(
            (key or "").encode(), known.encode()
        ):
            found = known
    return found


def client_guard(connection: Connection, _: BaseRouteHandler) -> None:
    """Guards /v1."""
    settings = services_of(connection).settings
    if settings.api_keys:
        admin = [settings.admin_key] if settings.admin_key else []
        _require(connection, [*settings.api_keys, *admin])
    else:
        refuse_foreign_pages(connection, settings)


def admin_guard(connection: Connection, _: BaseRouteHandler) -> None:
    """Guards /api."""
    settings = services_of(connection).settings
    if settings.admin_key is None:
        client_guard(connection, _)
        return
    if matching(presented_key(connection), settings.api_keys) not in (None, settings.admin_key):
        raise PermissionDenied("This key opens /v1; /api needs the admin key.")
    _require(connection, [settings.admin_key])


def metrics_guard(connection: Connection, _: BaseRouteHandler) -> None:
    """Guards /metrics: who reads the figures need not be one who may change anything."""
    key = services_of(connection).settings.metrics_key
    if key is None or matching(presented_key(connection), [key]) is None:
        admin_guard(connection, _)


def may_administer(connection: Connection) -> bool:
    """Whether /api is open to the caller, who may then be told why a model failed: a reason may name folders."""
    settings = services_of(connection).settings
    keys = settings.api_keys if settings.admin_key is None else [settings.admin_key]
    return not keys or matching(presented_key(connection), keys) is not None


def _require(connection: Connection, keys: list[str]) -> None:
    key = presented_key(connection)
    if key is None:
        raise AuthenticationFailed("No API key was given. Send it as 'Authorization: Bearer KEY'.")
    if matching(key, keys) is None:
        raise AuthenticationFailed("The API key is not one of this server's.")

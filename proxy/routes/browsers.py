"""Keeps other people's web pages from using a server that lets everybody in who reaches it.

A page that a user of this machine visits can make their browser call a server on it. Where keys are set it has none
to show. Without keys a call is refused that a foreign page made, told by `Origin`, which browsers always send with
calls that may change something, and one that came by a foreign name, told by `Host`: a name that its owner lets point
to this machine makes a foreign page look like the server's own (DNS rebinding).
"""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection

from proxy.errors import PermissionDenied
from proxy.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def refuse_foreign_pages(connection: ASGIConnection[Any, Any, Any, Any], settings: Settings) -> None:
    """PermissionDenied for what a foreign page may have sent, naming the setting that allows it."""
    host = _name_of("//" + connection.headers.get("host", ""))
    if _is_loopback(settings.host) and host and not _is_own(host, settings):
        raise PermissionDenied(
            f"This server is not known as {host[:80]!r}; add its origin, e.g. https://{host[:80]}, to cors_origins."
        )
    origin = connection.headers.get("origin")
    if origin is None or "*" in settings.cors_origins or origin in settings.cors_origins:
        return
    name = _name_of(origin)
    if _is_loopback(name) or (name == host and _is_own(host, settings)):
        return
    raise PermissionDenied(
        f"Pages of {origin[:80]!r} may not call this server; add that origin to cors_origins to let them."
    )


def _is_own(host: str, settings: Settings) -> bool:
    """Whether a name can only mean this server: no stranger can make it point here."""
    trusted = {settings.host, *(_name_of(origin) for origin in settings.cors_origins)}
    return host in trusted or "*" in settings.cors_origins or "." not in host.rstrip(".") or _is_address(host)


def _is_loopback(name: str) -> bool:
    return name in LOOPBACK_NAMES or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(url: str) -> str:
    """The host in a URL, without its port; "" where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

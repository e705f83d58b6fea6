"""How a model of other servers is named, and what an operator can say of asking them. Knows nothing of HTTP.

A source is `URL#NAME`: the base URL of an OpenAI-compatible API, or several with spaces between them, and the model's
name over there.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_URL = r"https?://[^\s@#?=]+"
_SOURCE = re.compile(rf"\s*(?P<urls>{_URL}(\s+{_URL})*)#(?P<name>[^\s#]+)\s*")
Seconds = Annotated[float, Meta(gt=0)]


class UpstreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the servers of one model are asked."""

    key_env: Annotated[
        Annotated[str, Meta(pattern=r"^\w+$")] | None,
        Meta(description="The environment variable that holds the servers' key; by default they get none"),
    ] = None
    key_file: Annotated[
        Path | None,
        Meta(description="The file that holds their key, in place of a variable; read when the model loads"),
    ] = None
    method: Annotated[
        Literal["activation", "prompt"],
        Meta(
            description="How a request for a persona is answered that names no method: by `activation`, which only a "
            "vLLM with our plugin can, or by `prompt`; then every persona is listed with the model"
        ),
    ] = "activation"
    connect_timeout_s: Annotated[
        Seconds, Meta(description="Seconds, above 0, that a connection may take to be made")
    ] = 5.0
    timeout_s: Annotated[
        Seconds,
        Meta(description="Seconds, above 0, that a server may say nothing, before its first token or after; then 504"),
    ] = 300.0
    check_every_s: Annotated[
        Seconds,
        Meta(
            description="Seconds, above 0, between two checks of a server's health; one that answered a request "
            "meanwhile is not checked"
        ),
    ] = 15.0
    wait_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds that a request whose server was lost before the first token waits for one; then 503",
        ),
    ] = 30.0


def is_address(source: str) -> bool:
    """Whether a source means other servers."""
    return source.lstrip().startswith(("http://", "https://"))


def split_address(source: str) -> tuple[list[str], str] | None:
    """The base URLs, each once, and the model's name over there; None for what is not written so."""
    found = _SOURCE.fullmatch(source)
    if found is None:
        return None
    return list(dict.fromkeys(url.rstrip("/") for url in found["urls"].split())), found["name"]

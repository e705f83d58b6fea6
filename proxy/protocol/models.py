"""GET /v1/models, /health and /ready: what is served and in which state it is."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from proxy.protocol.errors import ErrorDetail


class ModelCard(msgspec.Struct, kw_only=True):
    """A name a request may use as `model`: a model's own id, or `model:persona`. `created` is in Unix seconds.
    `context_length` and `max_model_len` are one number under the two names that clients look for: the tokens of prompt
    and answer together that this server takes. They are absent before the model was first loaded, and
    where another server that runs it does not tell."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "persona-proxy"
    context_length: int | UnsetType = UNSET
    max_model_len: int | UnsetType = UNSET


class ModelList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(msgspec.Struct):
    status: Literal["ok"] = "ok"


class ModelReadiness(msgspec.Struct):
    id: str
    status: Literal["unloaded", "loading", "ready", "failed"]
    error: str | None


class Readiness(msgspec.Struct):
    """`status` is "ready" as soon as every model that loads at the server's start has been loaded or failed to, which
    is named with its error. A model on demand is not waited for, loading or not: requests for it wait themselves."""

    status: Literal["ready"]
    models: list[ModelReadiness]


class NotReady(msgspec.Struct):
    """The 503 of /ready: an ordinary error body, with the states beside it."""

    error: ErrorDetail
    models: list[ModelReadiness]

"""GET /api/status: what the server does now, and what went wrong of late."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from proxy.engines.base import UpstreamOutcome, UpstreamState


class MemoryUse(msgspec.Struct, kw_only=True):
    """In bytes: what the server's process takes of the machine's memory, and what there is; null where the system does
    not tell. Weights on a GPU are not in it."""

    process_bytes: int | None
    machine_bytes: int | None


class UpstreamActivity(msgspec.Struct, kw_only=True):
    """A server that runs a model. `state` is "up"; "half_open" where one request tries whether it answers again, and
    "open" where it failed too often to be given any; "down" where its last check went wrong, as `problem` says;
    "draining" where it gets nothing new. `running` of our requests it has now. `ended`: how many it had, by how they
    ended."""

    url: str
    state: UpstreamState
    problem: str | None
    running: int
    ended: dict[UpstreamOutcome, int]


class ModelActivity(msgspec.Struct, kw_only=True):
    """`weights_bytes` are of the loaded weights, `cached_bytes` of what is kept of prompts that were read; null for a
    model that is not loaded.

    `running` answers have their first token, `waiting` ones do not: they are queued, or their prompt is read.
    `tokens_per_second` is the mean over the last minute, pauses included. All three are of requests; the work of jobs
    is not in them. `jobs` counts those that wait or run for the model, which does
    one at a time. `upstreams` are the servers that run it, absent where it runs here.
    """

    id: str
    status: Literal["unloaded", "loading", "ready", "failed"]
    weights_bytes: int | None
    cached_bytes: int | None
    running: int
    waiting: int
    jobs: int
    tokens_per_second: float
    upstreams: list[UpstreamActivity] | UnsetType = UNSET


class RecentError(msgspec.Struct, kw_only=True):
    """Errors of the same kind: how many since the server started, and the last one. `time` is in Unix seconds; the
    server's log has a line with the `request_id`. `message` is null where it may quote the request, as those of 4xx
    may. `route` is null where the address led nowhere."""

    status: int
    code: str
    message: str | None
    route: str | None
    count: int
    time: float
    request_id: str


class ServerStatus(msgspec.Struct, kw_only=True):
    """`started` is in Unix seconds. A model runs `max_batch` answers at once, and `max_queue` more may wait for it.
    `errors` are newest first."""

    version: str
    started: float
    memory: MemoryUse
    max_batch: int
    max_queue: int
    models: list[ModelActivity]
    errors: list[RecentError]

"""The /api/transfers family: maps that carry persona vectors from one model to another."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.protocol.jobs import Seed

FittedOn = Literal["built-in", "neutral"]
Documents = Annotated[int, Meta(ge=1, le=100_000)]


class TransferRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which transfer to fit, from the model `source` to the model `target`; see the command `transfer fit`. `text`:
    what both models read, roles and styles of many kinds or neutral questions, so many `documents`. `blocks`: those of
    the target that get a map, by default all, of deep models some from the middle. `wait`: answer when it is done, not
    at once."""

    source: str
    target: str
    text: FittedOn = "built-in"
    documents: Documents | None = None
    blocks: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)] | None = None
    seed: Seed | None = None
    wait: bool = False


class TransferModel(msgspec.Struct):
    """One of a transfer's two models. `fits`: whether the model that is served under this id has these weights, null
    while that is not known."""

    id: str
    fingerprint: str
    fits: bool | None


class TransferMap(msgspec.Struct):
    """A map between blocks. `r2`: share of the target's variance explained in text held out; `r2_shuffled`: by maps
    that were fitted to pairs that don't belong together."""

    span: str
    source_block: int
    target_block: int
    method: str
    r2: float
    r2_shuffled: float
    n_pairs: int


class TransferDetails(msgspec.Struct, kw_only=True):
    """A fitted transfer. `text` says what it was fitted on."""

    id: str
    object: Literal["transfer"] = "transfer"
    source: TransferModel
    target: TransferModel
    created: str
    text: str
    n_documents: int
    maps: list[TransferMap]


class TransferList(msgspec.Struct):
    data: list[TransferDetails]

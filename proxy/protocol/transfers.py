"""The /api/transfers family: maps that carry persona vectors from one model to another."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.protocol.jobs import Samples, Seed
from proxy.steering.budget import THOROUGH, BudgetName
from proxy.steering.transfer.figures import Evaluation

FittedOn = Literal["built-in", "neutral"]
Documents = Annotated[int, Meta(ge=1, le=100_000)]
AnswerTokens = Annotated[int, Meta(ge=8, le=512)]


class TransferRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which transfer to fit, from the model `source` to the model `target`; see the command `transfer fit`. `text`:
    what both models read, roles and styles of many kinds or neutral questions, so many `documents`, which the source
    answers with at most so many `answer_tokens`. `blocks`: those of the target that get a map, by default all, of deep
    models some from the middle. `wait`: answer when it is done, not at once."""

    source: str
    target: str
    text: FittedOn = "built-in"
    documents: Documents | None = None
    answer_tokens: AnswerTokens | None = None
    blocks: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)] | None = None
    seed: Seed | None = None
    wait: bool = False


class ApplyRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which vector to carry over: that of `trait`, from the model `source`, which need not be served, to the model
    `target`, by the maps of `transfer`, by default the newest; see the command `transfer apply`. `budget`: how much is
    done to find place and strength, `thorough` by default. `judge` and `wait` are as in GenerateRequest."""

    source: str
    target: str
    trait: str
    transfer: str | None = None
    seed: Seed | None = None
    budget: BudgetName = THOROUGH
    judge: str | None = None
    wait: bool = False


class EvaluateRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which vectors to measure in the model `target`: those of `traits`, by default all built-in ones, as the maps of
    `transfer`, by default the newest, carry them over from the model `source`, which need not be served; see the
    command `transfer evaluate`. `samples`: answers to each question in each arm, 2 by default. `budget`: how much is
    asked, `thorough` by default. `judge` and `wait` are as in GenerateRequest."""

    source: str
    target: str
    traits: Annotated[list[str], Meta(min_length=1)] | None = None
    transfer: str | None = None
    samples: Samples | None = None
    seed: Seed | None = None
    budget: BudgetName = THOROUGH
    judge: str | None = None
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
    """A fitted transfer. `text` says what it was fitted on. `screened`: by span, R2 in text held out of a quick fit
    from every block of the source (rows) to each of `target_blocks` (columns), by which the blocks of the maps were
    chosen."""

    id: str
    object: Literal["transfer"] = "transfer"
    source: TransferModel
    target: TransferModel
    created: str
    text: str
    n_documents: int
    maps: list[TransferMap]
    target_blocks: list[int]
    screened: dict[str, list[list[float]]]


class TransferList(msgspec.Struct):
    data: list[TransferDetails]


class EvaluationDetails(msgspec.Struct, kw_only=True):
    """What carried vectors were found to be worth. `misses`: each thing wanted of a transfer that was measured and did
    not come, in words; `missing`: each thing that was not measured, and without which there is no verdict."""

    id: str
    object: Literal["transfer.evaluation"] = "transfer.evaluation"
    misses: list[str]
    missing: list[str]
    figures: Evaluation


class EvaluationList(msgspec.Struct):
    data: list[EvaluationDetails]

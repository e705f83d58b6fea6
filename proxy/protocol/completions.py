"""POST /v1/completions: OpenAI's older endpoint, whose prompt is raw text, with what this server adds.

Fields that are not listed here are ignored, but for those of proxy/chat/unsupported.py, as in a chat.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.protocol.chat import (
    LogitBias,
    Penalty,
    RepetitionPenalty,
    RequestMetadata,
    Seed,
    Share,
    Stop,
    StreamOptions,
    Temperature,
    TokenId,
    TopK,
    Usage,
)
from proxy.protocol.steering import Coefficient, SteeringOptions, SteeringReport, SteeringTrace

DEFAULT_MAX_TOKENS = 16  # OpenAI's


class CompletionRequest(msgspec.Struct):
    """`prompt` is a text, a list of texts, the ids of one text's tokens, or a list of such lists; in a text, special
    tokens are what they look like. `max_tokens` 0 with `echo` only tells of the prompt. `logprobs` is how many of the
    likeliest tokens are told beside each token of the answer, and with `echo` of the prompt. `model` may be
    `model:persona` or `model:persona@coefficient`. A field that is null counts as left out."""

    prompt: str | Annotated[list[str | TokenId | Annotated[list[TokenId], Meta(min_length=1)]], Meta(min_length=1)]
    model: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=8)] | None = None
    user: str | None = None
    metadata: RequestMetadata | None = None
    # What this server adds
    persona: str | dict[str, Coefficient] | None = None
    coefficient: Coefficient | None = None
    steering: SteeringOptions | None = None


class CompletionLogprobs(msgspec.Struct):
    """Four lists of the same length, an entry for each token that is told of: with `echo` the prompt's, of which the
    first has no log-probability, then the answer's, special ones and the one that ends it included.

    `token_logprobs` are those in the model's own distribution: temperature 1, before penalties, bias and filters,
    steered as the text is. `top_logprobs`: the likeliest tokens, the token itself always among them. `text_offset`:
    the character of the choice's text in which the token begins. A token that is not whole characters is written as
    `bytes:\\x..`.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(msgspec.Struct):
    """Choices are in the order of the prompts, `n` for each. `finish_reason` is null in a stream before the last."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class TextCompletion(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
    steering: SteeringReport


class TextCompletionChunk(msgspec.Struct, kw_only=True):
    """`usage` is absent unless asked for with `include_usage`; then it is null on all chunks but the last. `steering`
    is the report in the chunk that ends a choice, and a trace in others where one was asked for."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    system_fingerprint: str
    usage: Usage | None | UnsetType = UNSET
    steering: SteeringReport | SteeringTrace | UnsetType = UNSET

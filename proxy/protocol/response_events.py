"""What a stream of /v1/responses tells, event by event, as OpenAI's does.

`sequence_number` counts from 0 without a gap. Deltas also carry a trace, where one is asked for.
"""

import msgspec
from msgspec import UNSET, UnsetType

from proxy.protocol.chat import TokenLogprob
from proxy.protocol.errors import ErrorDetail
from proxy.protocol.responses import OutputItem, OutputText, ReasoningText, ResponseObject
from proxy.protocol.steering import SteeringTrace


class Event(msgspec.Struct, tag_field="type", kw_only=True):
    sequence_number: int = -1


class ResponseCreated(Event, tag="response.created"):
    response: ResponseObject


class ResponseInProgress(Event, tag="response.in_progress"):
    response: ResponseObject


class ResponseCompleted(Event, tag="response.completed"):
    response: ResponseObject


class ResponseIncomplete(Event, tag="response.incomplete"):
    response: ResponseObject


class ResponseFailed(Event, tag="response.failed"):
    response: ResponseObject


class ItemAdded(Event, tag="response.output_item.added"):
    output_index: int
    item: OutputItem


class ItemDone(Event, tag="response.output_item.done"):
    output_index: int
    item: OutputItem


class OfPart(Event, kw_only=True):
    """About one part of an item's content; every item here has one at most."""

    item_id: str
    output_index: int
    content_index: int = 0


class PartAdded(OfPart, tag="response.content_part.added"):
    part: OutputText | ReasoningText


class PartDone(OfPart, tag="response.content_part.done"):
    part: OutputText | ReasoningText


class TextDelta(OfPart, tag="response.output_text.delta"):
    delta: str
    logprobs: list[TokenLogprob]
    steering: SteeringTrace | UnsetType = UNSET


class TextDone(OfPart, tag="response.output_text.done"):
    text: str
    logprobs: list[TokenLogprob]


class ReasoningDelta(OfPart, tag="response.reasoning_text.delta"):
    delta: str
    steering: SteeringTrace | UnsetType = UNSET


class ReasoningDone(OfPart, tag="response.reasoning_text.done"):
    text: str


class ArgumentsDelta(Event, tag="response.function_call_arguments.delta"):
    delta: str
    item_id: str
    output_index: int
    steering: SteeringTrace | UnsetType = UNSET


class ArgumentsDone(Event, tag="response.function_call_arguments.done"):
    name: str
    arguments: str
    item_id: str
    output_index: int


class ErrorEvent(Event, tag="error"):
    """`error` has the same once more: OpenAI's SDKs look for it there."""

    code: str
    message: str
    param: str | None
    error: ErrorDetail

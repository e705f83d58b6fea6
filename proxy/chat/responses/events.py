"""From token events to OpenAI's response, whole or as the events of a stream.

Pure: no sockets, no engine. A caller feeds events and sends on what comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from proxy.chat.logprobs import to_logprobs
from proxy.chat.refusals import rename
from proxy.chat.responses.items import GrowingCall, GrowingItem, GrowingMessage, GrowingReasoning
from proxy.chat.stream import GrowingChoice, Head, Piece, failure, reported, usage
from proxy.engines.base import Finish, Token
from proxy.errors import ProxyError
from proxy.protocol.response_events import (
    ArgumentsDelta,
    ErrorEvent,
    Event,
    ReasoningDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
    TextDelta,
)
from proxy.protocol.responses import (
    IncompleteDetails,
    InputDetails,
    OutputDetails,
    OutputItem,
    ResponseError,
    ResponseObject,
    ResponseUsage,
)
from proxy.protocol.steering import SteeringTrace

_DELTAS = (TextDelta, ReasoningDelta, ArgumentsDelta)
_CODES: dict[int, Literal["rate_limit_exceeded", "invalid_prompt"]] = {
    429: "rate_limit_exceeded",
    400: "invalid_prompt",
}

E = TypeVar("E", bound=Event)


class ResponseSequence:
    """The events of one response, and at its end the response. Its items follow one another: each is closed before the
    next is opened. `begun` is the response before its answer, `clock` tells Unix seconds, and `names` what the request
    calls a chat's fields."""

    def __init__(
        self,
        begun: ResponseObject,
        head: Head,
        choice: GrowingChoice,
        *,
        clock: Callable[[], float],
        names: Mapping[str, str],
    ) -> None:
        self._begun = begun
        self._head = head
        self._choice = choice
        self._clock = clock
        self._names = names
        self._items: list[GrowingItem] = []
        self._count = 0  # events so far

    def opening(self) -> list[Event]:
        """What comes before the answer."""
        return self._numbered([ResponseCreated(self._begun), ResponseInProgress(self._begun)])

    def feed(self, index: int, event: Token | Finish) -> list[Event]:
        """What an event adds to the answer, and what ends with it."""
        told = self.grow(event)
        deltas = [each for each in told if isinstance(each, _DELTAS)]
        if deltas and self._choice.finish_reason is None and (trace := self._choice.readings.trace()):
            deltas[0].steering = SteeringTrace(trace)
        return self._numbered(told)

    def grow(self, event: Token | Finish) -> list[Event]:
        """The same without numbers, for an answer that is told whole: its trace then stands in its report."""
        finished_before = self._choice.finish_reason is not None
        if finished_before:
            return []
        told = [each for piece in self._choice.feed(event) for each in self._add(piece)]
        if self._choice.finish_reason is None:
            return told
        if not self._items and self._choice.finish_reason != "length":
            told += self._open(GrowingMessage(self._number(), 0))  # it said nothing
        return told + (self._items[-1].closing(self._ending()) if self._items else [])

    def closing(self) -> list[Event]:
        """What follows the answer: the response."""
        whole = self.response()
        last = ResponseCompleted(whole) if whole.status == "completed" else ResponseIncomplete(whole)
        return self._numbered([last])

    def failing(self, error: ProxyError) -> list[Event]:
        """What is told in place of the rest. The first event is the one that OpenAI's SDKs raise."""
        detail = failure(rename(error, self._names)).error
        told = ResponseError(_CODES.get(error.status, "server_error"), detail.message)
        failed = msgspec.structs.replace(self._begun, status="failed", error=told, output=self._output())
        return self._numbered(
            [ErrorEvent(detail.code, detail.message, detail.param, detail), ResponseFailed(failed)],
        )

    def response(self) -> ResponseObject:
        """The response, once its answer is finished."""
        ending, used = self._ending(), usage(self._head.prompt_tokens, [self._choice])
        return msgspec.structs.replace(
            self._begun,
            status=ending,
            completed_at=int(self._clock()) if ending == "completed" else None,
            incomplete_details=IncompleteDetails() if ending == "incomplete" else None,
            output=self._output(),
            usage=ResponseUsage(
                used.prompt_tokens,
                InputDetails(used.prompt_tokens_details.cached_tokens),
                used.completion_tokens,
                OutputDetails(used.completion_tokens_details.reasoning_tokens),
                used.total_tokens,
            ),
            steering=reported(self._head.steering, [self._choice]),
        )

    def _add(self, piece: Piece) -> list[Event]:
        told: list[Event] = []
        if piece.opens is not None or not self._items or self._items[-1].channel != piece.channel:
            if self._items:
                told += self._items[-1].closing("completed")
            told += self._open(self._item(piece))
        logprobs = to_logprobs(piece.tokens, self._head.spell) if piece.channel == "content" else None
        entries = [] if logprobs is None else logprobs.content
        return told + ([self._items[-1].add(piece.text, entries)] if piece.text else [])

    def _item(self, piece: Piece) -> GrowingItem:
        number, at = self._number(), len(self._items)
        if piece.channel == "content":
            return GrowingMessage(number, at)
        return (
            GrowingReasoning(number, at) if piece.channel == "reasoning" else GrowingCall(number, at, piece.opens or "")
        )

    def _number(self) -> str:
        """What tells the next item's id from all others."""
        return f"{self._begun.id.removeprefix('resp_')}{len(self._items):02x}"

    def _open(self, item: GrowingItem) -> list[Event]:
        self._items.append(item)
        return item.opening()

    def _ending(self) -> Literal["completed", "incomplete"]:
        return "completed" if self._choice.finish_reason not in (None, "length") else "incomplete"

    def _output(self) -> list[OutputItem]:
        last = len(self._items) - 1
        return [item.item(self._ending() if at == last else "completed") for at, item in enumerate(self._items)]

    def _numbered(self, events: Sequence[E]) -> list[E]:
        for event in events:
            event.sequence_number = self._count
            self._count += 1
        return list(events)

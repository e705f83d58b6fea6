"""From token events to OpenAI's answers and chunks, and the holding back of what may become a stop string.

Pure: no sockets, no clock, no engine. A caller feeds events and sends on what comes out. Failures are not fed here:
the caller turns them into an error.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET

from proxy.chat.logprobs import SentTokens, Speller, to_logprobs
from proxy.chat.projections import DECIMALS, Readings
from proxy.engines.base import Channel, Counted, Finish, Token
from proxy.errors import ProxyError, error_body
from proxy.protocol.chat import (
    AssistantMessage,
    CalledFunction,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChunkChoice,
    CompletionDetails,
    Delta,
    FinishReason,
    FunctionDelta,
    PromptDetails,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from proxy.protocol.completions import TextCompletionChunk
from proxy.protocol.errors import ErrorResponse
from proxy.protocol.steering import SteeringReport, SteeringTrace

Chunk = TypeVar("Chunk", ChatChunk, TextCompletionChunk)

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Piece:
    """What a client gets to see of one event. Where it opens a call of a function, `opens` names that; arguments are of
    the call opened last. `tokens`: those that begin in this text, of content whose log-probabilities are known."""

    channel: Channel
    text: str
    opens: str | None = None
    tokens: tuple[Token, ...] = ()


class StopFilter:
    """Lets text through up to the first stop string, and holds back what may yet become one.

    Which text comes out does not depend on how it was split into tokens: the stop string that is complete first
    counts, and of several that end at the same character the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that is now safe to show."""
        if not self._stops:
            return text
        if self.stopped:
            return ""
        text = self._held + text
        matches = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if matches:
            self.stopped, self._held = True, ""
            return text[: min(matches)[1]]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        safe = len(text) - keep
        self._held = text[safe:]
        return text[:safe]

    def flush(self) -> str:
        """What was held back, once it is certain that nothing follows."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


@dataclass
class GrowingChoice:
    """One choice as it grows. Stop strings apply to the content, not to reasoning and calls.

    Without `tools` nobody expects calls of functions, so none is shown. `ending`: why it finished where it ends with a
    call; `legacy`: that is told in OpenAI's older form. `calls`: each one's function and arguments.
    `cached`: how many of the prompt's tokens had been read before. `readings`: what probes read of it. `sent`: the
    tokens of the content whose log-probabilities are known. `end`: the model's end token, where those are asked for.
    `prompt_tokens`: the prompt's, where another server counted them.
    """

    stops: Sequence[str] = ()
    tools: bool = False
    ending: FinishReason = "tool_calls"
    legacy: bool = False
    content: str = ""
    reasoning: str = ""
    calls: list[CalledFunction] = field(default_factory=list)
    tokens: int = 0
    reasoning_tokens: int = 0
    cached: int = 0
    prompt_tokens: int | None = None
    finish_reason: FinishReason | None = None
    readings: Readings = field(default_factory=Readings)
    sent: SentTokens = field(default_factory=SentTokens)
    end: Token | None = None
    _filter: StopFilter = field(init=False)

    def __post_init__(self) -> None:
        self._filter = StopFilter(self.stops)

    def feed(self, event: Token | Finish) -> list[Piece]:
        """What the event adds for the client to see. Sets `finish_reason` when the answer is complete, which a stop
        string makes it before the engine says so; events after that add nothing."""
        if self.finish_reason is not None:
            return []
        self.readings.feed(event)
        if isinstance(event, Finish):
            self.end = event.end
            if event.counted is not None:
                self._count(event.counted)
            pieces = [] if event.rest is None else self._add_token(event.rest)
            if self.finish_reason is None:
                self.finish_reason = self.ending if self.calls and event.reason == "stop" else event.reason
            return pieces + self._add("content", self._filter.flush())
        self.tokens += 1
        self.cached += event.cached
        self.reasoning_tokens += event.channel == "reasoning"
        return self._add_token(event)

    @property
    def untold(self) -> list[Token]:
        """The tokens behind those of `sent` once it is finished: special ones, parts of a character that was never
        whole, and the end; none where a stop string cut the text off."""
        if self._filter.stopped:
            return []
        return [token for _, token in self.sent.waiting] + ([] if self.end is None else [self.end])

    def _count(self, counted: Counted) -> None:
        """What a server has counted that tells of several tokens at once."""
        self.tokens, self.reasoning_tokens = counted.answer, counted.reasoning
        self.prompt_tokens, self.cached = counted.prompt, counted.cached

    def _add_token(self, event: Token) -> list[Piece]:
        if event.channel == "arguments":
            return self._add_call(event.text, event.opens) if self.tools else []
        if event.channel == "reasoning":
            return self._add("reasoning", event.text)
        self.sent.feed(event)
        pieces = self._add("content", self._filter.feed(event.text))
        if self._filter.stopped:
            self.finish_reason = "stop"
        return pieces

    def _add(self, channel: Channel, text: str) -> list[Piece]:
        if not text:
            return []
        if channel == "reasoning":
            self.reasoning += text
            return [Piece(channel, text)]
        self.content += text
        return [Piece(channel, text, tokens=self.sent.upto(len(self.content)))]

    def _add_call(self, text: str, opens: str | None) -> list[Piece]:
        if opens is not None:
            self.calls.append(CalledFunction(opens, ""))
        self.calls[-1].arguments += text
        return [Piece("arguments", text, opens)] if text or opens is not None else []


@dataclass(frozen=True)
class Head:
    """What a response's chunks have in common, and its `steering` report. `created` is in Unix seconds; `spell`
    is there where log-probabilities were asked for."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    prompt_tokens: int
    steering: SteeringReport
    spell: Speller | None = None


def completion(head: Head, answers: Sequence[GrowingChoice]) -> ChatCompletion:
    """The response of a request that does not stream. All answers must be finished."""
    return ChatCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[_choice(head, index, answer) for index, answer in enumerate(answers)],
        usage=usage(head.prompt_tokens, answers),
        system_fingerprint=head.system_fingerprint,
        steering=reported(head.steering, answers),
    )


def reported(report: SteeringReport, answers: Sequence[GrowingChoice]) -> SteeringReport:
    """The report of these answers, with what was read of them."""
    means = [means for answer in answers if (means := answer.readings.means())]
    mean = {name: round(sum(each[name] for each in means) / len(means), DECIMALS) for name in (means or [{}])[0]}
    return msgspec.structs.replace(
        report,
        projection=mean or None,
        trace=[token for answer in answers for token in answer.readings.trace()] or None,
    )


def usage(prompt_tokens: int, answers: Sequence[GrowingChoice], per_prompt: int | None = None) -> Usage:
    """A prompt counts once, however many answers it got: `per_prompt`, or all. What another server counted stands in
    place of `prompt_tokens`."""
    counted = [answer.prompt_tokens for answer in answers[:: per_prompt or len(answers)]]
    if any(each is not None for each in counted):
        prompt_tokens = sum(each or 0 for each in counted)
    completion_tokens = sum(answer.tokens for answer in answers)
    return Usage(
        prompt_tokens,
        completion_tokens,
        prompt_tokens + completion_tokens,
        PromptDetails(sum(answer.cached for answer in answers[:: per_prompt or len(answers)])),
        CompletionDetails(sum(answer.reasoning_tokens for answer in answers)),
    )


def _choice(head: Head, index: int, answer: GrowingChoice) -> Choice:
    assert answer.finish_reason is not None
    reasoning = answer.reasoning or UNSET
    calls = [ToolCall(_call_id(head, index, number), call) for number, call in enumerate(answer.calls)]
    message = AssistantMessage(
        None if calls and not answer.content else answer.content,
        tool_calls=UNSET if answer.legacy else calls or UNSET,
        function_call=answer.calls[0] if answer.legacy and answer.calls else UNSET,
        reasoning_content=reasoning,
        reasoning=reasoning,
    )
    return Choice(index, message, answer.finish_reason, to_logprobs(answer.sent.all, head.spell))


def _call_id(head: Head, choice: int, number: int) -> str:
    """As unique as the response's own id."""
    return f"call_{head.id.removeprefix('chatcmpl-')}_{choice}_{number}"


class AnswerChunks(ABC, Generic[Chunk]):
    """The chunks of one streamed response, of whichever endpoint: what each event adds, a finish chunk per choice with
    its report, and the usage if it was asked for."""

    def __init__(
        self,
        head: Head,
        answers: Sequence[GrowingChoice],
        per_prompt: int | None = None,
        *,
        include_usage: bool,
    ) -> None:
        self._head = head
        self._answers = answers
        self._per_prompt = per_prompt
        self._include_usage = include_usage

    def feed(self, index: int, event: Token | Finish) -> list[Chunk]:
        """The chunks that an event of choice `index` makes: none, one, or its last text and the finish."""
        answer = self._answers[index]
        finished_before = answer.finish_reason is not None
        if finished_before:
            return []
        chunks = [self._piece(index, piece) for piece in answer.feed(event)]
        if answer.finish_reason is not None:
            chunks.append(self._finish(index))
        elif chunks and (trace := answer.readings.trace()):
            chunks[0].steering = SteeringTrace(trace)
        return chunks

    def closing(self) -> list[Chunk]:
        """What follows when all choices are finished."""
        if not self._include_usage:
            return []
        last = self._empty()
        last.usage = usage(self._head.prompt_tokens, self._answers, self._per_prompt)
        return [last]

    @abstractmethod
    def _piece(self, index: int, piece: Piece) -> Chunk:
        """What is added to a choice."""

    @abstractmethod
    def _finish(self, index: int) -> Chunk:
        """That a choice is finished."""

    @abstractmethod
    def _empty(self) -> Chunk:
        """A chunk of no choice."""


class ChunkSequence(AnswerChunks[ChatChunk]):
    """The chunks of one streamed chat, in the order the OpenAI SDKs need: first the roles of all choices."""

    def opening(self) -> list[ChatChunk]:
        first = Delta(role="assistant", content="", refusal=None)
        return [self._chunk([ChunkChoice(index, first)]) for index in range(len(self._answers))]

    def failing(self, error: ProxyError) -> list[ErrorResponse]:
        """What is told in place of the rest: the error, as the SDKs recognise it."""
        return [failure(error)]

    def _piece(self, index: int, piece: Piece) -> ChatChunk:
        logprobs = to_logprobs(piece.tokens, self._head.spell) if piece.channel == "content" else None
        return self._chunk([ChunkChoice(index, self._delta(index, piece), logprobs=logprobs)])

    def _finish(self, index: int) -> ChatChunk:
        answer = self._answers[index]
        finish = self._chunk([ChunkChoice(index, Delta(), answer.finish_reason)])
        finish.steering = reported(self._head.steering, [answer])
        return finish

    def _empty(self) -> ChatChunk:
        return self._chunk([])

    def _delta(self, index: int, piece: Piece) -> Delta:
        if piece.channel == "content":
            return Delta(content=piece.text)
        if piece.channel == "reasoning":
            return Delta(reasoning_content=piece.text, reasoning=piece.text)
        if self._answers[index].legacy:
            return Delta(function_call=FunctionDelta(piece.text, UNSET if piece.opens is None else piece.opens))
        number = len(self._answers[index].calls) - 1
        if piece.opens is None:
            return Delta(tool_calls=[ToolCallDelta(number, FunctionDelta(piece.text))])
        id_ = _call_id(self._head, index, number)
        call = ToolCallDelta(number, FunctionDelta(piece.text, piece.opens), id_, "function")
        return Delta(tool_calls=[call])

    def _chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        return ChatChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=choices,
            system_fingerprint=self._head.system_fingerprint,
            usage=None if self._include_usage else UNSET,
        )


def failure(error: ProxyError) -> ErrorResponse:
    """An error in the middle of a stream."""
    return msgspec.convert(error_body(error), ErrorResponse)


def frame(chunk: msgspec.Struct) -> bytes:
    """A chunk as the bytes of a server-sent event."""
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def named_frame(event: msgspec.Struct) -> bytes:
    """An event that has a type, which the frame also names."""
    return b"event: " + str(event.__struct_config__.tag).encode() + b"\n" + frame(event)

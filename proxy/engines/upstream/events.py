"""From the stream of another OpenAI-compatible server to an engine's events. Pure: no sockets, no clock."""

import builtins
import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from proxy.engines.base import Counted, Finish, Spelling, Token
from proxy.engines.errors import UpstreamFailure

MAX_LINE = 16 * 1024 * 1024  # bytes; nobody writes more at once, and what does not end would fill the memory
_PARTS = re.compile(r"bytes:(\\x[0-9a-f]{2})+")
_REASONS = {"stop": "stop", "tool_calls": "stop", "function_call": "stop", "length": "length"}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function
    index: int | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Top(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None

    @property
    def spelt(self) -> "builtins.bytes":
        """`bytes` may be out of range, as nothing may be trusted that comes from elsewhere. The older endpoint writes
        parts of a character as `bytes:\\x..`."""
        if self.bytes is not None and all(0 <= each < 256 for each in self.bytes):
            return builtins.bytes(self.bytes)
        if _PARTS.fullmatch(self.token):
            return builtins.bytes.fromhex(self.token.removeprefix("bytes:").replace("\\x", ""))
        return self.token.encode("utf-8", "surrogatepass")


class _Entry(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    """A chat's, or of the older endpoint's, four lists."""

    content: list[_Entry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _AnswerDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _AnswerDetails | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class StreamError(UpstreamFailure):
    """The server told of an error in its stream: `told` is that, in its own form."""

    def __init__(self, told: Any) -> None:
        super().__init__("it told of an error in the middle of its answer")
        self.told = told


class CutShort(UpstreamFailure):
    """The stream ended before its answer did."""

    def __init__(self) -> None:
        super().__init__("its answer ended in the middle")


class Frames:
    """The data of server-sent events out of the bytes they come in."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What is complete now. UpstreamFailure for a line that does not end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise UpstreamFailure("it wrote a line without an end")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


class Reader:
    """The events of one answer."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._call: int | None = None  # the one that was opened last
        self._reason: str | None = None
        self._counted: Counted | None = None

    def feed(self, frame: bytes) -> list[Token]:
        """The tokens of one frame. UpstreamFailure for what can't be understood, StreamError for an error."""
        try:
            chunk = msgspec.json.decode(frame, type=_Chunk)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamFailure("it wrote something that is no chunk of an answer") from None
        if chunk.error is not None:
            raise StreamError(chunk.error)
        if chunk.usage is not None:
            self._counted = _counted(chunk.usage)
        tokens = []
        for choice in chunk.choices or ():
            tokens += self._tokens(choice)
            self._reason = choice.finish_reason or self._reason
        return tokens

    def finish(self) -> Finish:
        """How it ended, once nothing follows. CutShort where it ended in the middle, UpstreamFailure for an ending
        that we have no word for."""
        if self._reason is None:
            raise CutShort
        reason = _REASONS.get(self._reason)
        if reason is None:
            raise UpstreamFailure(f"it ended its answer for a reason of its own: {self._reason[:100]}")
        return Finish("length" if reason == "length" else "stop", counted=self._counted)

    def _tokens(self, choice: _Choice) -> list[Token]:
        if choice.delta is None:
            return self._content(choice.text or "", choice.logprobs)
        delta = choice.delta
        tokens = []
        if thought := delta.reasoning_content or delta.reasoning:
            tokens.append(Token(-1, thought, "reasoning"))
        tokens += self._content(delta.content or "", choice.logprobs)
        for number, call in enumerate(delta.tool_calls or ()):
            tokens += self._of_call(call, number if call.index is None else call.index)
        return tokens

    def _of_call(self, call: _Call, index: int) -> list[Token]:
        text = call.function.arguments or ""
        if self._call is None or index > self._call:
            if not call.function.name:
                raise UpstreamFailure("it calls a function without a name")
            self._call = index
            return [Token(-1, text, "arguments", call.function.name)]
        if index < self._call:
            raise UpstreamFailure("it goes on with a call behind another one")
        return [Token(-1, text, "arguments")] if text else []

    def _content(self, text: str, logprobs: _Logprobs | None) -> list[Token]:
        entries = [] if logprobs is None else _entries(logprobs)
        if not entries:
            return [Token(-1, text)] if text else []
        return [
            Token(
                self._spelling.id_of(entry.spelt),
                part,
                logprob=entry.logprob,
                top=tuple((self._spelling.id_of(top.spelt), top.logprob) for top in entry.top_logprobs or ()),
            )
            for entry, part in zip(entries, _parts(text, entries), strict=True)
        ]


def _entries(logprobs: _Logprobs) -> list[_Entry]:
    if logprobs.content is not None or logprobs.tokens is None:
        return logprobs.content or []
    values = logprobs.token_logprobs or []
    tops = logprobs.top_logprobs or [None] * len(values)
    return [
        _Entry(token, 0.0 if value is None else value, top_logprobs=[_Top(*pair) for pair in (top or {}).items()])
        for token, value, top in zip(logprobs.tokens, values, tops, strict=False)
    ]


def _parts(text: str, entries: Sequence[_Entry]) -> list[str]:
    """What each token adds to the text; the first has it all where that can't be told."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts = [decoder.decode(entry.spelt) for entry in entries]
    return parts if "".join(parts) == text else [text, *[""] * (len(entries) - 1)]


def _counted(usage: _Usage) -> Counted:
    prompt, answer = usage.prompt_tokens_details, usage.completion_tokens_details
    return Counted(
        usage.prompt_tokens,
        usage.completion_tokens or 0,
        (answer and answer.reasoning_tokens) or 0,
        (prompt and prompt.cached_tokens) or 0,
    )

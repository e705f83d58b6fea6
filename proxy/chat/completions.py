"""From token events to the answers and chunks of /v1/completions, OpenAI's older endpoint, and their log-probabilities.

Pure, as `stream` is: no sockets, no clock, no engine.
"""

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET

from proxy.chat.logprobs import Speller, at_least
from proxy.chat.refusals import rename
from proxy.chat.stream import AnswerChunks, GrowingChoice, Head, Piece, failure, reported, usage
from proxy.engines.base import Likelihood, Token
from proxy.errors import ProxyError
from proxy.protocol.completions import CompletionChoice, CompletionLogprobs, TextCompletion, TextCompletionChunk
from proxy.protocol.errors import ErrorResponse
from proxy.protocol.steering import SteeringReport

FIELDS = {"messages": "prompt"}  # what has another name in a chat


@dataclass(frozen=True)
class Echo:
    """A prompt that stands before its answers, and its tokens where those were asked for."""

    text: str
    logprobs: CompletionLogprobs | None = None


@dataclass
class Growing:
    """One choice: what is repeated of its prompt, its answer as it grows, and the report of its steering."""

    echo: Echo | None
    answer: GrowingChoice
    report: SteeringReport


class ToldTokens:
    """Tells tokens in the older form, which says where in a text each begins; the first at the character `at`."""

    def __init__(self, spell: Speller, at: int) -> None:
        self._spell = spell
        self._at = at

    def prompt(self, tokens: Sequence[int], likely: Sequence[Likelihood]) -> CompletionLogprobs:
        """Tell a prompt's tokens: how likely each is but the first."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        widths = (len(decoder.decode(self._spell(id_))) for id_ in tokens)
        return self._told(zip(tokens, (None, *likely), widths, strict=True))

    def answer(self, tokens: Iterable[Token]) -> CompletionLogprobs:
        """Tell the next tokens of an answer, all of which have log-probabilities."""
        return self._told((token.id, Likelihood(token.logprob or 0.0, token.top), len(token.text)) for token in tokens)

    def _told(self, tokens: Iterable[tuple[int, Likelihood | None, int]]) -> CompletionLogprobs:
        """Each with the number of characters that it adds to the text."""
        told = CompletionLogprobs([], [], [], [])
        for id_, likely, width in tokens:
            told.tokens.append(_written(self._spell(id_)))
            told.token_logprobs.append(None if likely is None else at_least(likely.logprob))
            told.top_logprobs.append(None if likely is None else self._top(id_, likely))
            told.text_offset.append(max(self._at, 0))
            self._at += width
        return told

    def _top(self, id_: int, likely: Likelihood) -> dict[str, float]:
        """Best first; of several that are written alike the best."""
        found: dict[str, float] = {}
        for other, logprob in (*likely.top, (id_, likely.logprob)):
            found.setdefault(_written(self._spell(other)), at_least(logprob))
        return found


def prompt_logprobs(
    text: str, tokens: Sequence[int], likely: Sequence[Likelihood], spell: Speller
) -> CompletionLogprobs:
    """Of a prompt's tokens, each after those before it. What tokenizers put before a text, a token of their own or a
    blank, takes no room in it."""
    spelt = b"".join(map(spell, tokens)).decode("utf-8", "replace")
    added = len(spelt) - len(text) if spelt.endswith(text) else 0
    return ToldTokens(spell, -added).prompt(tokens, likely)


def _written(spelt: bytes) -> str:
    try:
        return spelt.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


def text_completion(head: Head, choices: Sequence[Growing], per_prompt: int) -> TextCompletion:
    """The response of a request that does not stream, with so many choices of each prompt. All must be finished."""
    answers = [choice.answer for choice in choices]
    return TextCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[_choice(head, index, choice) for index, choice in enumerate(choices)],
        system_fingerprint=head.system_fingerprint,
        usage=usage(head.prompt_tokens, answers, per_prompt),
        steering=reported(head.steering, answers),
    )


def _choice(head: Head, index: int, choice: Growing) -> CompletionChoice:
    said = "" if choice.echo is None else choice.echo.text
    logprobs = None
    if head.spell is not None:
        logprobs = ToldTokens(head.spell, len(said)).answer([*choice.answer.sent.all, *choice.answer.untold])
        if choice.echo is not None and (before := choice.echo.logprobs) is not None:
            logprobs = CompletionLogprobs(
                before.tokens + logprobs.tokens,
                before.token_logprobs + logprobs.token_logprobs,
                before.top_logprobs + logprobs.top_logprobs,
                before.text_offset + logprobs.text_offset,
            )
    return CompletionChoice(index, said + choice.answer.content, logprobs, _reason(choice.answer))


def _reason(answer: GrowingChoice) -> Literal["stop", "length"] | None:
    return "stop" if answer.finish_reason == "stop" else None if answer.finish_reason is None else "length"


class CompletionSequence(AnswerChunks[TextCompletionChunk]):
    """The chunks of one streamed completion: first the prompts that are to be repeated."""

    def __init__(self, head: Head, choices: Sequence[Growing], per_prompt: int, *, include_usage: bool) -> None:
        super().__init__(head, [choice.answer for choice in choices], per_prompt, include_usage=include_usage)
        self._choices = choices
        places = [0 if choice.echo is None else len(choice.echo.text) for choice in choices]
        self._tokens = None if head.spell is None else [ToldTokens(head.spell, at) for at in places]

    def opening(self) -> list[TextCompletionChunk]:
        chunks = []
        for index, choice in enumerate(self._choices):
            if choice.echo is not None:
                chunks.append(self._chunk([CompletionChoice(index, choice.echo.text, choice.echo.logprobs)]))
            if choice.answer.finish_reason is not None:  # nothing was to follow
                chunks.append(self._finish(index))
        return chunks

    def failing(self, error: ProxyError) -> list[ErrorResponse]:
        """What is told in place of the rest: the error, as the SDKs recognise it."""
        return [failure(rename(error, FIELDS))]

    def _piece(self, index: int, piece: Piece) -> TextCompletionChunk:
        logprobs = None if self._tokens is None else self._tokens[index].answer(piece.tokens)
        return self._chunk([CompletionChoice(index, piece.text, logprobs)])

    def _finish(self, index: int) -> TextCompletionChunk:
        choice = self._choices[index]
        untold = choice.answer.untold
        logprobs = self._tokens[index].answer(untold) if self._tokens is not None and untold else None
        chunk = self._chunk([CompletionChoice(index, "", logprobs, _reason(choice.answer))])
        chunk.steering = reported(choice.report, [choice.answer])
        return chunk

    def _empty(self) -> TextCompletionChunk:
        return self._chunk([])

    def _chunk(self, choices: list[CompletionChoice]) -> TextCompletionChunk:
        return TextCompletionChunk(
            id=self._head.id,
            created=self._head.created,
            model=self._head.model,
            choices=choices,
            system_fingerprint=self._head.system_fingerprint,
            usage=None if self._include_usage else UNSET,
        )

"""The log-probabilities of an answer's tokens as OpenAI tells them, in step with the text that is sent.

Pure, as `stream` is: no engine, no clock.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxy.engines.base import Token
from proxy.protocol.chat import Logprobs, TokenLogprob, TopLogprob

Speller = Callable[[int], bytes]  # see Engine.speller

_LEAST = -9999.0  # what OpenAI writes for less; JSON knows no infinity


@dataclass
class SentTokens:
    """One choice's tokens whose log-probabilities are known, each as soon as the text it begins in is sent. `all` of
    them so far: where a stop string cut the text off, the last is the one it cut in two. `waiting` are the others."""

    all: list[Token] = field(default_factory=list)
    waiting: deque[tuple[int, Token]] = field(default_factory=deque)  # with where they begin
    _begun: int = 0  # characters of content, sent or held back

    def feed(self, token: Token) -> None:
        """A token of the content."""
        if token.logprob is not None:
            self.waiting.append((self._begun, token))
        self._begun += len(token.text)

    def upto(self, n_characters: int) -> tuple[Token, ...]:
        """The tokens that are new now that so much of the content is sent."""
        new = []
        while self.waiting and self.waiting[0][0] < n_characters:
            new.append(self.waiting.popleft()[1])
        self.all += new
        return tuple(new)


def to_logprobs(tokens: Sequence[Token], spell: Speller | None) -> Logprobs | None:
    """OpenAI's entries for tokens of the content; None without a speller, where nobody asked for them."""
    if spell is None:
        return None
    entries = []
    for token in tokens:
        top = [TopLogprob(*_entry(spell(id_), value)) for id_, value in token.top]
        assert token.logprob is not None
        entries.append(TokenLogprob(*_entry(spell(token.id), token.logprob), top))
    return Logprobs(entries)


def _entry(spelt: bytes, logprob: float) -> tuple[str, float, list[int]]:
    return spelt.decode("utf-8", "backslashreplace"), at_least(logprob), list(spelt)


def at_least(logprob: float) -> float:
    """A log-probability that JSON can tell."""
    return max(logprob, _LEAST)

"""What the ways to tell an answer's text with calls in it have in common. Knows nothing of how a call is written."""

from typing import Generic, TypeVar

from proxy.engines.base import Channel, Token
from proxy.engines.text.detokenizer import Detokenizer

Call = TypeVar("Call")


class CallingSpeech(Generic[Call]):
    """An answer's text with calls in it; `Call` is what is known of one that is being written."""

    channels: frozenset[Channel] = frozenset(("content",))

    def __init__(self, detokenizer: Detokenizer) -> None:
        self.special = detokenizer.special
        self._detokenizer = detokenizer
        self._call: Call | None = None
        self._called = False  # nothing was said since a call
        self._last = -1

    @property
    def writing(self) -> Channel | None:
        return "content" if self._call is None else "arguments"

    @property
    def opener(self) -> int | None:
        """None: reasoning is no matter of a first token."""
        return None

    def _said(self, token: int, text: str) -> Token:
        if self._called and not text.strip():
            return Token(token, "")  # the line break between two calls
        self._called = False
        return Token(token, text)

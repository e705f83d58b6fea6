"""What tells an answer's text from its tokens, whatever the model's format."""

from typing import Protocol

from proxy.engines.base import Channel, Token


class Speech(Protocol):
    """One answer's text so far. `channels` are those it may have text in, as far as steering can be limited to them;
    `special` are the tokens that have no text wherever they stand."""

    channels: frozenset[Channel]
    special: frozenset[int]

    @property
    def writing(self) -> Channel | None:
        """The channel of the message that the next token goes on with; None where that is not in a message."""

    @property
    def opener(self) -> int | None:
        """A token that may come next and have the answer begin with reasoning, where it would else be the content."""

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""

    def rest(self) -> Token | None:
        """What was held back, once it is certain that nothing follows."""

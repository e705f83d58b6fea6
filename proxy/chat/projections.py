"""What probes read of one answer, token by token, on its way to the client. Pure, as stream.py is."""

from collections.abc import Sequence

from proxy.engines.base import Finish, Token
from proxy.protocol.steering import TracedToken

DECIMALS = 4


class Readings:
    """The readings of probes, which are called `names`. With `traced` every token's are kept for the client."""

    def __init__(self, names: Sequence[str] = (), *, traced: bool = False) -> None:
        self._names = names
        self._traced = traced
        self._sums = [0.0] * len(names)
        self._text = ""  # of the token before
        self._says_something = False
        self._untold: list[TracedToken] = []
        self.n_tokens = 0  # that were read

    def feed(self, event: Token | Finish) -> None:
        """An event carries the readings of the token before it, or the last one those of all."""
        if event.readings:
            self._take(self._text, event.readings)
        if isinstance(event, Token):
            self._text = event.text
        else:
            for token in event.read:
                self._take(token.text, token.readings)

    def _take(self, text: str, readings: Sequence[float]) -> None:
        if self._traced:
            self._untold.append(TracedToken(text, self._named(readings)))
        self._sums = [total + value for total, value in zip(self._sums, readings, strict=True)]
        self._says_something |= text != ""
        self.n_tokens += 1

    def means(self) -> dict[str, float]:
        """Each probe's mean over the answer's tokens, those of headers too, as it is in the answers that the scale is
        from; empty where no token with a text was read."""
        return self._named([total / self.n_tokens for total in self._sums]) if self._says_something else {}

    def trace(self) -> list[TracedToken]:
        """The tokens that were read since the last call, in their order."""
        told, self._untold = self._untold, []
        return told

    def _named(self, values: Sequence[float]) -> dict[str, float]:
        return {name: round(value, DECIMALS) for name, value in zip(self._names, values, strict=True)}

"""What went wrong of late, for the operator: requests that were refused or failed, counted where they are alike.

Only what is the server's own is kept. Messages of 4xx may quote what a client sent, so those are left out, but for that
of a full queue. Nor is the address kept, only the route that it led to. Knows nothing of how a request is answered; one
thread at a time uses it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.errors import Overloaded, ProxyError

KEPT = 50


@dataclass(frozen=True)
class ErrorKey:
    """What the errors that count as one have in common. `route` is None where the address led nowhere."""

    status: int
    code: str
    route: str | None
    message: str | None


@dataclass(frozen=True)
class LastError:
    """How many there were of a kind, and the last one: when, in Unix seconds, and in answer to which request."""

    count: int
    time: float
    request_id: str


class RecentErrors:
    """The kinds of errors there were, as many as fit; the one that was met longest ago goes first."""

    def __init__(self) -> None:
        self._errors: OrderedDict[ErrorKey, LastError] = OrderedDict()

    def note(self, error: ProxyError, route: str | None, request_id: str, now: float) -> None:
        """Take note of an error that a client was told."""
        own_words = error.status >= 500 or isinstance(error, Overloaded)
        key = ErrorKey(error.status, error.code, route, error.message if own_words else None)
        before = self._errors.pop(key, None)
        self._errors[key] = LastError(1 if before is None else before.count + 1, now, request_id)
        if len(self._errors) > KEPT:
            self._errors.popitem(last=False)

    def newest(self) -> Iterator[tuple[ErrorKey, LastError]]:
        """All that are kept, newest first."""
        return reversed(self._errors.items())

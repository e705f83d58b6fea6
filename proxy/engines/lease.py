"""One use of a model, such as a request: as long as it is held, the registry does not unload it for being idle.

Given out by the registry at once, also while the model is still to be loaded. It is settled on the thread that loads
and awaited on an event loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from proxy.engines.base import Engine
from proxy.errors import ModelUnavailable


class Lease:
    """One use of a model, which stays loaded until `release`."""

    def __init__(self, release: Callable[["Lease"], None]) -> None:
        self._release = release
        self._engine: Future[Engine] = Future()

    async def loaded(self) -> Engine:
        """The engine, as soon as it is loaded. ModelUnavailable when that fails. To be awaited once."""
        return await asyncio.wrap_future(self._engine)

    def release(self) -> None:
        """Give the model back. Safe from any thread, and more than once."""
        self._release(self)

    def settle(self, engine: Engine | ModelUnavailable) -> None:
        """For the registry: the model is there, or it says why not."""
        if not self._engine.set_running_or_notify_cancel():
            return  # nobody waits any more
        if isinstance(engine, ModelUnavailable):
            self._engine.set_exception(engine)
        else:
            self._engine.set_result(engine)

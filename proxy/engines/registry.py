"""The models being served: loads them one after another in the background and says which are ready.

One after another, because two models loading at once need the memory of both twice. It knows engines only by how
to load them; importing this module does not import torch.
"""

import importlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from proxy.engines.base import Engine
from proxy.errors import ModelNotFound, ModelUnavailable, ProxyError
from proxy.settings import ModelSettings

logger = logging.getLogger(__name__)

RETRY_WHILE_LOADING_S = 5

Loader = Callable[[ModelSettings, int], Engine]


@dataclass(frozen=True)
class ModelState:
    """How one model is doing. `created` is when it became known, in Unix seconds; `engine` is there when ready."""

    id: str
    status: Literal["loading", "ready", "failed"]
    created: int
    error: str | None = None  # one line, when failed
    engine: Engine | None = None


def load_engine(settings: ModelSettings, max_batch: int) -> Engine:
    """Load one model with the engine its settings name. Takes seconds to minutes; imports torch."""
    module = importlib.import_module(f"proxy.engines.{settings.engine}")
    engine: Engine = module.load(settings, max_batch)
    return engine


class Registry:
    """Every model of the server by id, in the order of the settings. Safe from any thread; no method but `wait` and
    `close` takes longer than a dictionary's look-up."""

    def __init__(self, models: Sequence[ModelSettings], max_batch: int = 16, *, load: Loader = load_engine) -> None:
        self._settings = tuple(models)
        self._max_batch = max_batch
        self._load = load
        self._lock = threading.Lock()
        self._closed = False
        now = int(time.time())
        self._states = {model.id: ModelState(model.id, "loading", now) for model in models}
        self._thread: threading.Thread | None = None

    def start(self, on_change: Callable[[ModelState], None] | None = None) -> None:
        """Begin loading and return at once. `on_change` is told of each model when its loading begins and ends, on
        the loading thread."""
        if self._thread is not None:
            raise RuntimeError("the registry was already started")
        # A daemon, so that Ctrl-C does not wait for the minutes a large model takes to load.
        self._thread = threading.Thread(
            target=self._load_all, args=(on_change or (lambda state: None),), name="load-models", daemon=True
        )
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until no model is loading any more, at most `timeout_s`; whether that is so."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return all(state.status != "loading" for state in self.models())

    def models(self) -> list[ModelState]:
        """The state of every model, in the order of the settings."""
        with self._lock:
            return list(self._states.values())

    def get(self, model_id: str) -> Engine:
        """The engine of a model that is ready. ModelNotFound, or ModelUnavailable while loading and when failed."""
        with self._lock:
            state = self._states.get(model_id)
        if state is None:
            known = ", ".join(self._states)
            raise ModelNotFound(f"The model {model_id!r} does not exist. Possible: {known}.", param="model")
        if state.engine is not None:
            return state.engine
        if state.status == "failed":
            raise ModelUnavailable(f"The model {model_id!r} failed to load: {state.error}")
        raise ModelUnavailable(
            f"The model {model_id!r} is still loading; try again in a moment.", retry_after_s=RETRY_WHILE_LOADING_S
        )

    def close(self) -> None:
        """Close every engine; a model still loading is closed as soon as it is there. More than once is harmless."""
        with self._lock:
            self._closed = True
            engines = [state.engine for state in self._states.values() if state.engine is not None]
            self._states = {
                id_: replace(state, status="failed", error="the server is shutting down", engine=None)
                for id_, state in self._states.items()
            }
        for engine in engines:
            engine.close()

    def _load_all(self, on_change: Callable[[ModelState], None]) -> None:
        for settings in self._settings:
            with self._lock:
                if self._closed:
                    return
                state = self._states[settings.id]
            on_change(state)
            state = self._load_one(settings, state)
            if not self._keep(state):
                return
            on_change(state)

    def _load_one(self, settings: ModelSettings, state: ModelState) -> ModelState:
        try:
            return replace(state, status="ready", engine=self._load(settings, self._max_batch))
        except ProxyError as error:
            return replace(state, status="failed", error=error.message)
        except Exception as error:  # whatever a model's files bring about, the other models go on
            logger.debug("loading %s failed", settings.id, exc_info=True)
            return replace(state, status="failed", error=_one_line(error))

    def _keep(self, state: ModelState) -> bool:
        """Record how loading ended, unless the registry was closed meanwhile."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._states[state.id] = state
        if closed and state.engine is not None:
            state.engine.close()
        return not closed


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

"""The models being served: loaded at start or when first asked for, one at a time, and given back when idle.

Whoever uses a model holds it, and what is held is not given back by itself. One model loads at a time, because two
loading at once need the memory of both twice. It knows engines only by how to load and close them; importing this
module does not import torch.
"""

import importlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from proxy.catalogue.known import how_to_serve
from proxy.engines.base import Engine, HasUpstreams, ModelInfo, Upstream
from proxy.engines.errors import EngineError
from proxy.engines.lease import Lease
from proxy.errors import LoadFailed, ModelBusy, ModelNotFound, ModelUnavailable, NotFound, ProxyError
from proxy.settings import ModelSettings

logger = logging.getLogger(__name__)

RETRY_WHILE_LOADING_S = 5
_MOST_UNTOLD = 256

Loader = Callable[[ModelSettings, int], Engine]
Status = Literal["unloaded", "loading", "ready", "failed"]


@dataclass(frozen=True)
class ModelState:
    """How one model is doing. `created` is when it became known, in Unix seconds.

    `on_demand`: a request for it has it loaded where that is needed, and waits. `info` is what was found when it was
    last loaded: None before, and after a load that failed; an unloaded model keeps it.
    """

    id: str
    status: Status
    created: int
    on_demand: bool = False
    error: str | None = None  # one line, when failed
    info: ModelInfo | None = None
    took_s: float = 0.0  # to load, the last time

    @property
    def awaited(self) -> bool:
        """Whether the server is not complete before it has loaded: until then requests for it are turned away."""
        return self.status == "loading" and not self.on_demand


class _Model:
    """What the registry knows of one model. `holds` are its uses, those that wait for it to load among them; `closing`
    is an engine whose memory is on its way back."""

    def __init__(self, settings: ModelSettings, now: int) -> None:
        at_start = settings.load == "start"
        self.settings = settings
        self.state = ModelState(settings.id, "loading" if at_start else "unloaded", now, on_demand=not at_start)
        self.engine: Engine | None = None
        self.holds: set[Lease] = set()
        self.drained: set[str] = set()  # of the servers that run it, whenever it is loaded
        self.idle_since_s = 0.0  # on the monotonic clock
        self.closing: Engine | None = None

    @property
    def now(self) -> ModelState:
        """Its state. Of one that other servers run it may change at any time what is known of it."""
        elsewhere = isinstance(self.engine, HasUpstreams)
        return replace(self.state, info=self.engine.info) if elsewhere and self.engine else self.state

    @property
    def due_s(self) -> float:
        """When it has been idle for long enough to be unloaded, on the monotonic clock, as things are; or never."""
        if self.engine is None or self.holds or self.settings.unload_after_s is None:
            return math.inf
        return self.idle_since_s + self.settings.unload_after_s


def load_engine(settings: ModelSettings, max_batch: int) -> Engine:
    """Load one model with the engine its settings name. Takes seconds to minutes; imports torch."""
    module = importlib.import_module(f"proxy.engines.{settings.engine}.engine")
    engine: Engine = module.load(settings, max_batch)
    return engine


class Registry:
    """Every model of the server by id, in the order of the settings. Safe from any thread; no method but `wait`,
    `unload` and `close` takes longer than a dictionary's look-up."""

    def __init__(self, models: Sequence[ModelSettings], max_batch: int = 16, *, load: Loader = load_engine) -> None:
        now = int(time.time())
        self._models = {settings.id: _Model(settings, now) for settings in models}
        self._max_batch = max_batch
        self._load = load
        self._changed = threading.Condition()  # guards everything below and in the models
        self._queue = deque(model for model in self._models.values() if model.state.status == "loading")
        self._closed = False
        self.started = False
        self._telling = threading.RLock()  # guards what is below
        self._on_change: Callable[[ModelState], None] | None = None
        self._untold: deque[ModelState] = deque(maxlen=_MOST_UNTOLD)

    def listen(self, on_change: Callable[[ModelState], None]) -> None:
        """Have `on_change` told of each model when its loading begins and ends and when it has been unloaded, on the
        thread that did it. What has happened since `start` is told at once."""
        with self._telling:
            self._on_change = on_change
            for state in self._untold:
                self._told(on_change, state)
            self._untold.clear()

    def start(self, on_change: Callable[[ModelState], None] | None = None) -> None:
        """Begin loading and return at once. `on_change` is told as in `listen`."""
        if self.started:
            raise RuntimeError("the registry was already started")
        self.started = True
        if on_change is not None:
            self.listen(on_change)
        # Daemons, so that Ctrl-C does not wait for the minutes a large model takes to load.
        threading.Thread(target=self._load_queued, name="load-models", daemon=True).start()
        if any(model.settings.unload_after_s is not None for model in self._models.values()):
            threading.Thread(target=self._unload_idle, name="unload-models", daemon=True).start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until no model is loading any more, at most `timeout_s`; whether that is so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(model.state.status != "loading" for model in self._models.values()), timeout_s
            )

    def models(self) -> list[ModelState]:
        """The state of every model, in the order of the settings."""
        with self._changed:
            return [model.now for model in self._models.values()]

    def state(self, model_id: str) -> ModelState:
        """The state of one model. ModelNotFound names the known ones."""
        with self._changed:
            return self._known(model_id).now

    def cached_bytes(self, model_id: str) -> int | None:
        """The memory that a model takes for prompts that were read; None for one that is not loaded. ModelNotFound."""
        with self._changed:
            engine = self._known(model_id).engine
            return None if engine is None else engine.cached_bytes

    def upstreams(self, model_id: str) -> list[Upstream]:
        """The servers that run a model; none for one that runs here or is not loaded. ModelNotFound."""
        engine = self._elsewhere(model_id)
        return [] if engine is None else engine.upstreams

    def drain(self, model_id: str, url: str, draining: bool) -> None:
        """Give one of the servers that run a model nothing new, or give it requests again, also once the model is
        loaded anew. ModelNotFound; NotFound for a server that is none of the model's."""
        engine = self._elsewhere(model_id)
        known = [] if engine is None else [upstream.url for upstream in engine.upstreams]
        if engine is None or url not in known:
            raise NotFound(f"url: {url!r} is no server of {model_id}; possible: {', '.join(known) or 'none'}")
        with self._changed:
            drained = self._known(model_id).drained
            (drained.add if draining else drained.discard)(url)
            engine.drain(url, draining)

    def _elsewhere(self, model_id: str) -> HasUpstreams | None:
        """The engine of a model that other servers run."""
        with self._changed:
            engine: object = self._known(model_id).engine
            return engine if isinstance(engine, HasUpstreams) else None

    def hold(self, model_id: str) -> Lease:
        """Use a model for a request; one on demand is loaded if it is not. ModelNotFound; ModelUnavailable when it
        failed to load, and for one not on demand while it loads and when it was unloaded."""
        with self._changed:
            model = self._known(model_id)
            state = model.state
            if state.status == "failed":
                raise LoadFailed(state.id, state.error)
            if state.awaited:
                raise ModelUnavailable(
                    f"The model {model_id!r} is still loading; try again in a moment.",
                    retry_after_s=RETRY_WHILE_LOADING_S,
                )
            if state.status == "unloaded" and not state.on_demand:
                raise ModelUnavailable(
                    f"The model {model_id!r} was unloaded; POST /api/models/{model_id}/load loads it again."
                )
            return self._take(model)

    def load(self, model_id: str) -> Lease:
        """Use a model whatever its settings say of when to load it; one that failed is tried again. ModelNotFound."""
        with self._changed:
            return self._take(self._known(model_id))

    def unload(self, model_id: str, *, force: bool = False) -> None:
        """Give a model's memory back, and block until that is done; nothing happens to one that is not loaded.
        ModelBusy while it is loading, and while it is in use unless `force`, which ends the answers under way."""
        with self._changed:
            model = self._known(model_id)
            if model.state.status == "loading":
                raise ModelBusy(f"The model {model_id!r} is loading, which can't be broken off; unload it afterwards.")
            if model.holds and not force:
                count = len(model.holds)
                uses = "1 request or job is" if count == 1 else f"{count} requests or jobs are"
                raise ModelBusy(f"{uses} under way on {model_id!r}; wait, or unload it with `force`, which ends them.")
            loaded = model.engine is not None
            if loaded:
                self._detach(model)
        if loaded:
            self._give_back(model)
        with self._changed:
            self._changed.wait_for(lambda: model.closing is None)

    def close(self) -> None:
        """Close every engine; a model still loading is closed as soon as it is there. More than once is harmless."""
        with self._changed:
            self._closed = True
            engines = [model.engine for model in self._models.values() if model.engine is not None]
            waiting = [hold for model in self._models.values() if model.engine is None for hold in model.holds]
            for model in self._models.values():
                model.engine = None
                model.holds.clear()
                model.state = replace(model.state, status="failed", error="the server is shutting down")
            self._changed.notify_all()
        for hold in waiting:
            hold.settle(ModelUnavailable("The server is shutting down."))
        for engine in engines:
            engine.close()

    def _known(self, model_id: str) -> _Model:
        if model_id not in self._models:
            known = ", ".join(self._models)
            raise ModelNotFound(f"The model {model_id!r} does not exist. Possible: {known}.{how_to_serve(model_id)}")
        return self._models[model_id]

    def _take(self, model: _Model) -> Lease:
        if self._closed:
            raise ModelUnavailable("The server is shutting down.")
        hold = Lease(partial(self._release, model))
        model.holds.add(hold)
        if model.engine is not None:
            hold.settle(model.engine)
        elif model.state.status != "loading":
            model.state = replace(model.state, status="loading", error=None)
            self._queue.append(model)
            self._changed.notify_all()
        return hold

    def _release(self, model: _Model, hold: Lease) -> None:
        with self._changed:
            if hold in model.holds:
                model.holds.remove(hold)
                model.idle_since_s = time.monotonic()
                self._changed.notify_all()

    def _detach(self, model: _Model) -> None:
        """Keep the engine from whoever asks from now on. `_give_back` has to follow, which takes longer."""
        model.closing, model.engine = model.engine, None
        model.holds.clear()
        model.state = replace(model.state, status="unloaded")

    def _give_back(self, model: _Model) -> None:
        assert model.closing is not None
        try:
            model.closing.close()
        except Exception:
            logger.exception("%s could not be closed", model.settings.id)
        self._tell(replace(model.state, status="unloaded"))
        with self._changed:
            model.closing = None
            self._changed.notify_all()

    def _load_queued(self) -> None:
        """The thread that loads. No local of it may keep an engine: it would outlive its unloading."""
        while (model := self._next_to_load()) is not None:
            self._tell(model.state)
            began = time.monotonic()
            engine, error = self._attempt(model.settings)
            self._settle(model, engine, error, time.monotonic() - began)
            del engine

    def _next_to_load(self) -> _Model | None:
        with self._changed:
            # What is being given back may be the very memory the next one needs.
            self._changed.wait_for(
                lambda: self._closed or (self._queue and all(model.closing is None for model in self._models.values()))
            )
            return None if self._closed else self._queue.popleft()

    def _attempt(self, settings: ModelSettings) -> tuple[Engine | None, str | None]:
        """The engine, or in one line why there is none."""
        try:
            return self._load(settings, self._max_batch), None
        except (ProxyError, EngineError) as error:
            return None, error.message
        except Exception as error:  # whatever a model's files bring about, the other models go on
            logger.debug("loading %s failed", settings.id, exc_info=True)
            return None, _one_line(error)

    def _settle(self, model: _Model, engine: Engine | None, error: str | None, took_s: float) -> None:
        """Record how loading ended, and tell those who wait, unless the registry was closed meanwhile."""
        with self._changed:
            closed = self._closed
            if not closed:
                elsewhere: object = engine
                if isinstance(elsewhere, HasUpstreams):
                    for url in model.drained:
                        elsewhere.drain(url, True)
                model.engine = engine
                model.idle_since_s = time.monotonic()
                model.state = replace(
                    model.state,
                    status="failed" if engine is None else "ready",
                    on_demand=model.settings.load == "demand" or model.settings.unload_after_s is not None,
                    error=error,
                    info=None if engine is None else engine.info,
                    took_s=took_s,
                )
                state, holds = model.state, list(model.holds)
                if engine is None:
                    model.holds.clear()
                self._changed.notify_all()
        if closed:
            if engine is not None:
                engine.close()
            return
        for hold in holds:
            hold.settle(LoadFailed(state.id, error) if engine is None else engine)
        self._tell(state)

    def _unload_idle(self) -> None:
        """The thread that gives idle models back."""
        while self._unload_one():
            pass

    def _unload_one(self) -> bool:
        """Wait until a model has been idle for long enough, and give it back; False once closed."""
        with self._changed:
            while not self._closed:
                model = min(self._models.values(), key=lambda model: model.due_s)
                left_s = model.due_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
            else:
                return False
            self._detach(model)
        self._give_back(model)
        return True

    def _tell(self, state: ModelState) -> None:
        with self._telling:
            if self._on_change is None:
                self._untold.append(state)
            else:
                self._told(self._on_change, state)

    def _told(self, on_change: Callable[[ModelState], None], state: ModelState) -> None:
        try:
            on_change(state)
        except Exception:  # such as a terminal that is gone; the models are still to be loaded
            logger.exception("nobody could be told that %s is %s", state.id, state.status)


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

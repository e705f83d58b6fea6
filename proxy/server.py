"""Runs the server in the foreground: takes the port, loads the models behind it, and tells the operator about it.

It knows the process and the terminal; what is served is the application's business.
"""

import asyncio
import json
import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from sse_starlette.sse import AppStatus

import proxy
from proxy.app import create_app
from proxy.chat.available import Available, extract_command
from proxy.chat.personas import parse, resolve
from proxy.engines.base import ModelInfo
from proxy.engines.registry import ModelState, Registry
from proxy.errors import ProxyError, SetupError
from proxy.routes.answering import SHUTDOWN_GRACE_S
from proxy.services import services_of
from proxy.serving.connections import TimedProtocol, allow_many_files
from proxy.serving.head import head_as_get
from proxy.serving.listening import url_of
from proxy.serving.shutdown import EndedInTime
from proxy.settings import Settings, demo_models
from proxy.steering.traits.trait import Poles, load_traits, poles
from proxy.telemetry.logs import JsonLines
from proxy.telemetry.tracing import Tracing
from vector_store import StoreUnreachable, VectorStore

# What answers under way get to end in. With the farewell of those that don't, it stays below the ten seconds after
# which `docker stop` kills.
DRAIN_S = 5.0
LAST_S = 9.0  # from the signal: then the process ends, though a model has not let go
SYSTEM_S = 0.9  # more: then the system ends it, though no Python runs any more
LOADED_S = 10.0  # what a model that loads gets, where it turns out that the server can't start
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(message)s"},
        "json": {"()": JsonLines},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "text"}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {"proxy": {"level": "INFO"}},
}
EXAMPLE_QUESTION = "What is gravity?"  # which the smallest models answer in good English
EXAMPLE_OF_TOYS = "What is the capital of France?"  # of the few things they know
EXAMPLE_PERSONA, EXAMPLE_TEMPERATURE = "silly", 0.7  # whom a first answer should make smile


def serve(settings: Settings, listener: socket.socket, registry: Registry) -> None:
    """Serve on a socket until a signal comes, and close both. The registry may have been started. SetupError when no
    model could be loaded."""
    tracing: Tracing | None = None
    try:
        tracing = None if settings.otlp_endpoint is None else Tracing(settings.otlp_endpoint)
        url = url_of(settings.host, listener.getsockname()[1])
        known = poles(load_traits(*settings.trait_folders))
        check_default_personas(settings, known)
        app = create_app(settings, registry, tracing)
        check_vectors(services_of(app).store)
        ended = EndedInTime(head_as_get(app))
        allow_many_files()

        server = DrainingServer(
            uvicorn.Config(
                ended,
                log_config=logging_as(settings.log_format),
                access_log=False,  # the app writes its own line of each request
                server_header=False,
                timeout_graceful_shutdown=round(DRAIN_S + SHUTDOWN_GRACE_S + 1),
                timeout_keep_alive=settings.keep_alive_s,
                http=TimedProtocol,
            ),
            on_signal=EndAllTheSame(LAST_S).begin,
            on_shutdown=services_of(app).jobs.interrupt,
            on_impatience=ended.stop,
        )
        startup = Startup(settings, registry, known, url, on_hopeless=server.stop)
        AppStatus.disable_automatic_graceful_drain()
        signal.signal(signal.SIGTERM, _exit_cleanly)
        startup.begin()
        registry.listen(startup.on_change)
        if not registry.started:
            registry.start()
        server.run(sockets=[listener])
        if startup.hopeless:
            raise SetupError(startup.hopeless)
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
    except SetupError:
        if registry.started:
            registry.wait(LOADED_S)  # a library that loads does not take it well that the process ends
        raise
    finally:
        listener.close()
        if tracing is not None:
            tracing.close()
        registry.close()


def logging_as(form: str) -> dict[str, Any]:
    """What logging is set up with, for lines of this form."""
    return LOGGING | {"handlers": {"stderr": LOGGING["handlers"]["stderr"] | {"formatter": form}}}


class EndAllTheSame:
    """Ends the process some time after `begin`, where it has not ended by itself: a model in the middle of a long step
    can't be waited for. Everybody has an answer by then, and what is kept of jobs is written whole.

    A thread does it, with a good exit code. While the interpreter is taken apart, which may take seconds where torch is
    loaded and the machine is busy, and while something holds its lock, no thread of ours runs: then the system's alarm
    does it, where there is one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def begin(self) -> None:
        """Count from now. More calls change nothing."""
        if not self._timer.is_alive():
            self._timer.start()
            if hasattr(signal, "setitimer"):
                # Nobody handles it, so it ends the process.
                signal.setitimer(signal.ITIMER_REAL, self._seconds + SYSTEM_S)

    def _end(self) -> None:
        logging.getLogger(__name__).warning("a model did not let go in time; the server ends all the same")
        os._exit(0)


class DrainingServer(uvicorn.Server):
    """A uvicorn server that lets answers under way end, for `DRAIN_S` at most, before they are cut short.

    `on_signal` is called when a signal asks for the end. On the event loop, `on_shutdown` is called before answers are
    waited for, and `on_impatience` after that, when streams are told to end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_signal: Callable[[], None],
        on_shutdown: Callable[[], None],
        on_impatience: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._on_signal = on_signal
        self._on_shutdown = on_shutdown
        self._on_impatience = on_impatience

    def stop(self) -> None:
        """Shut down soon. Safe from any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_signal()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_shutdown()
        # Left alone, sse-starlette ends every stream the moment a signal comes.
        farewell = asyncio.get_running_loop().call_later(DRAIN_S, self._lose_patience)
        try:
            await super().shutdown(sockets)
        finally:
            farewell.cancel()

    def _lose_patience(self) -> None:
        AppStatus.should_exit = True
        self._on_impatience()


def check_default_personas(settings: Settings, known: Poles) -> None:
    """SetupError for a persona in the settings that no request could get."""
    defaults = [("default_persona", settings.default_persona)] if settings.default_persona is not None else []
    for setting, text in [*defaults, *(("key_personas", text) for text in settings.key_personas.values())]:
        try:
            resolve([parse(text, setting)], known)
        except ProxyError as error:
            raise SetupError(error.message) from None


def check_vectors(store: VectorStore) -> None:
    """SetupError where the place vectors are kept in can't be reached, before any model is loaded."""
    try:
        store.list()
    except StoreUnreachable as error:
        raise SetupError(f"vectors_dir: {error}") from None


def _exit_cleanly(*_: object) -> None:
    sys.exit(0)


class Startup:
    """What the operator reads while models load, and later when one on demand comes and goes. `hopeless` says why when
    the server has no model to serve: all were to load at its start, and none could be."""

    def __init__(
        self, settings: Settings, registry: Registry, known: Poles, url: str, on_hopeless: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._url = url
        self._on_hopeless = on_hopeless
        self._available = Available(lambda: known, VectorStore(settings.vector_folders), registry)
        self._awaited = {model.id for model in settings.models if model.load == "start"}
        self._starting = True
        self.hopeless: str | None = None

    def begin(self) -> None:
        """Say what is about to happen, which with models on demand alone is nothing."""
        at_start = [model for model in self._settings.models if model.load == "start"]
        models = "1 model" if len(at_start) == 1 else f"{len(at_start)} models"
        loading = f", loading {models} ..." if at_start else ""
        _say(f"persona-proxy {proxy.__version__} at {self._url}{loading}")
        for model in self._settings.models:
            if model.load == "demand":
                _say(f"  {model.id}: {model.source}, loads when first asked for")
        self._end_start()

    def on_change(self, state: ModelState) -> None:
        """Tell of a model that begins to load, is ready, failed or was unloaded; when the start is over, how to use
        them."""
        if state.status == "loading":
            _say(f"  {state.id}: loading {self._source(state.id)} ...")
        elif state.status == "unloaded":
            _say(f"  {state.id}: unloaded")
        elif state.info is not None:
            _say(f"  {state.id}: ready after {state.took_s:.1f} s, {_model(state.info)}")
            for upstream in self._registry.upstreams(state.id):
                if upstream.problem is not None:
                    _say(f"    but {upstream.url} gets nothing yet: {upstream.problem}")
            personas = ", ".join(self._available.personas_of(state))
            _say(f"    personas: {personas or self._how_else(state)}")
        else:
            _say(f"  {state.id}: failed, {state.error}")
        if state.status != "loading":
            self._awaited.discard(state.id)
        if self._starting:
            self._end_start()

    def _end_start(self) -> None:
        if self._awaited:
            return
        self._starting = False
        states = self._registry.models()
        usable = [state for state in states if state.status == "ready" or (state.on_demand and state.error is None)]
        if usable:
            self._say_how_to_use(usable)
        else:
            self.hopeless = "no model could be loaded; " + "; ".join(f"{each.id}: {each.error}" for each in states)
            self._on_hopeless()

    def _say_how_to_use(self, models: Sequence[ModelState]) -> None:
        """A steered question, by the first of them with the persona that delights most, else the first with any. Where
        the very first has none, a plain question to that before it."""
        personas = {model.id: self._available.personas_of(model) for model in models}
        delightful = [id_ for id_, names in personas.items() if EXAMPLE_PERSONA in names]
        steerable = next(iter([*delightful, *(id_ for id_, names in personas.items() if names)]), None)
        first = next(iter(personas))
        _say(f"Ready at {self._url}/v1, with a page at {self._url}/ (stop with Ctrl-C). Try:")
        if not personas[first]:
            self._say_request({"model": first})
            if steerable is not None:
                _say("  and steered:")
        if steerable is not None:
            names = personas[steerable]
            persona = EXAMPLE_PERSONA if EXAMPLE_PERSONA in names else names[0]
            self._say_request({"model": steerable, "persona": persona, "coefficient": 1.0})

    def _say_request(self, asked: dict[str, object]) -> None:
        is_toy = asked["model"] in {model.id for model in demo_models()}
        question = EXAMPLE_OF_TOYS if is_toy else EXAMPLE_QUESTION
        body = asked | {"temperature": EXAMPLE_TEMPERATURE, "messages": [{"role": "user", "content": question}]}
        key = "-H 'Authorization: Bearer YOUR_KEY' " if self._settings.api_keys else ""
        _say(
            f"  curl {self._url}/v1/chat/completions {key}-H 'Content-Type: application/json' "
            f"-d {shlex.quote(json.dumps(body))}"
        )

    def _how_else(self, state: ModelState) -> str:
        if state.info is not None and not state.info.steerable:
            return "by the methods prompt and sampling, since it runs on another server"
        model = next(model for model in self._settings.models if model.id == state.id)
        return f"none yet; make them with: {extract_command(model, 'all')}"

    def _source(self, model_id: str) -> str:
        return next(model.source for model in self._settings.models if model.id == model_id)


def _model(info: ModelInfo) -> str:
    if info.in_words:
        return f"on another server, {info.family}, {info.n_layers} blocks" if info.steerable else "on another server"
    return f"{info.family}, {info.n_layers} blocks, {info.dtype} on {info.device}"


def _say(line: str) -> None:
    print(line, flush=True)

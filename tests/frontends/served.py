"""A real server with a toy and a model of a few lines, and what was asked of it. Knows nothing of who asks."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from proxy.app import create_app
from proxy.engines.base import Engine, Generation, Token
from proxy.engines.registry import Registry, load_engine
from proxy.settings import ModelSettings, demo_models
from tests.fakes import FakeEngine, model_settings, running, save_vector, settings_in

FAKE, TOY = "fake", "demo-qwen2"
TOOL = "get_current_timestamp"  # one of Open WebUI's own
CALLED = "!time"


class Caller(FakeEngine):
    """The fake, with room for long prompts and time enough between tokens to be watched. "!time" calls a function."""

    def __init__(self) -> None:
        super().__init__(FAKE, token_s=0.3, context_length=200_000)

    def _tokens(self, generation: Generation, system: str, said: str) -> Iterator[Token]:
        if said == CALLED:
            yield Token(6, "", "arguments", opens=TOOL)
            yield Token(9, "{}", "arguments")
            return
        yield from super()._tokens(generation, system, said)


@dataclass
class Asked:
    """A chat request that was answered: what it said, and to which personas the answer was steered."""

    body: dict[str, Any] = field(repr=False)
    status: int
    personas: dict[str, float]

    @property
    def is_task(self) -> bool:
        """Whether a front-end asked it for itself, for a title or tags, and no user did."""
        return "### Task:" in str(self.body["messages"][-1]["content"])


@dataclass
class Recorder:
    """Passes everything on to `app`, and keeps chat requests with their answers."""

    app: ASGIApp
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not scope["path"].endswith("/chat/completions"):
            return await self.app(scope, receive, send)
        sent, answered, status = bytearray(), bytearray(), 0

        async def receive_and_keep() -> Any:
            message = await receive()
            sent.extend(message.get("body", b""))  # type: ignore[arg-type]
            return message

        async def send_and_keep(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                answered.extend(message["body"])
            await send(message)

        await self.app(scope, receive_and_keep, send_and_keep)
        steered = re.search(rb'"personas":(\{[^}]*\})', answered)
        self.asked.append(Asked(json.loads(sent), status, json.loads(steered[1]) if steered else {}))

    def chats(self) -> list[Asked]:
        """What users asked."""
        return [asked for asked in self.asked if not asked.is_task]

    def tasks(self) -> list[Asked]:
        """What the front-end asked for itself."""
        return [asked for asked in self.asked if asked.is_task]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Recorder]]:
    """The address of the server, with both models loaded, and what is asked there."""
    settings = settings_in(folder)
    save_vector(settings.vectors_dir, "silly", "silly", "serious", model=FAKE, responses=True)

    def load(model: ModelSettings, max_batch: int) -> Engine:
        return Caller() if model.id == FAKE else load_engine(model, max_batch)

    toys = [model for model in demo_models() if model.id == TOY]
    registry = Registry([*model_settings(FAKE), *toys], settings.max_batch, load=load)
    registry.start()
    try:
        assert registry.wait(600) and all(state.status == "ready" for state in registry.models())
        recorder = Recorder(create_app(settings, registry))
        with running(recorder) as url:
            yield url, recorder
    finally:
        registry.close()

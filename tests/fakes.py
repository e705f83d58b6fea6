"""A model of a few lines that keeps an engine's whole promise, and a real server to put it behind.

Its answer shows what reached it: it repeats the last user message, behind the system prompt and behind the strength
of the steering, as in "[+1.00] You said: hello". Some messages make it misbehave, see FakeEngine.
"""

import asyncio
import codecs
import contextlib
import dataclasses
import hashlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import uvicorn
from litestar.types import ASGIApp
from sse_starlette.sse import AppStatus

from proxy.app import create_app
from proxy.engines.base import (
    AnswerReadings,
    CallRules,
    Engine,
    Event,
    Failure,
    Finish,
    FloatArray,
    Generation,
    Likelihood,
    Message,
    ModelInfo,
    Plan,
    Reword,
    Rollout,
    Span,
    SpanStats,
    Token,
    Tool,
)
from proxy.engines.errors import EngineClosed, Refusal
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from tests.contract.published import watched
from vector_store import CONDITIONS, PersonaVector, PoleChoice, VectorStore

N_LAYERS, HIDDEN = 4, 8
FINGERPRINT = "f" * 64  # of the model `fake`


def fingerprint_of(model: str) -> str:
    """Each model has weights of its own."""
    return FINGERPRINT if model == "fake" else hashlib.sha256(model.encode()).hexdigest()


class FakeRun:
    def __init__(self, events: Iterator[Event], on_event: Callable[[Event], None]) -> None:
        self.events = events
        self.on_event = on_event
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


class FakeEngine:
    """One worker thread steps through all runs, a token of each per step of `token_s` seconds.

    A user message "!forever" is answered without end, "!end" not at all, "!held" with twenty tokens that tell nothing
    yet, "!fail" with one token and a failure, "!think" with a thought before the answer, "!tool" with a word and two
    calls of functions, "!refuse" is refused by the template, "!slow" takes a second to render, and for ever to be
    scored. An answer that is to follow a JSON schema is the schema, unless that says "!impossible".
    Log-probabilities are token ids below 0. With `knows_tools` the names of tools and of functions called stand in its
    prompts. An answer that has begun as it would have goes on from there. Every probe reads a tenth of how many tokens
    came before: 0, 0.1, 0.2 and so on.
    """

    def __init__(
        self,
        id: str = "fake",
        *,
        family: str = "fake",
        token_s: float = 0.0,
        context_length: int = 500,
        knows_tools: bool = True,
        fingerprint: str = "",
    ) -> None:
        self.info = ModelInfo(
            id,
            family,
            N_LAYERS,
            HIDDEN,
            context_length,
            fingerprint or fingerprint_of(id),
            "transformers",
            "cpu",
            "float32",
        )
        self.token_s = token_s
        self.knows_tools = knows_tools
        self.generations: list[Generation] = []
        self.scored: list[list[Plan]] = []  # of the calls of `likelihoods`
        self.reading = False  # in such a call
        self.options: Mapping[str, Any] | None = None  # of the last conversation rendered
        self.largest_batch = 0
        self.running: list[FakeRun] = []
        self._wake = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    @property
    def cached_bytes(self) -> int:
        return 4096

    @property
    def opening(self) -> list[int]:
        return []

    def begin(self, prompt: Sequence[int], content: str, reasoning: str = "") -> tuple[list[int], list[int]]:
        begun = bool(content or reasoning)
        return list(f"\0{reasoning}\0".encode()) if begun else [], list(content.encode())

    def render(
        self,
        messages: Sequence[Message],
        *,
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] | None = None,
        options: Mapping[str, Any] | None = None,
        reword: Reword | None = None,
    ) -> list[int]:
        if reword is not None:
            return self.render(reword(messages, tools or ()), options=options)
        self.options = options
        last = messages[-1]["content"]
        if last == "!refuse":
            raise Refusal("the template refuses this conversation", "prompt")
        if last == "!slow":
            time.sleep(1)
        system = "".join(message["content"] for message in messages if message["role"] == "system")
        calls = [call for message in messages for call in message.get("tool_calls", ())]
        names = "".join(f"\0{entry['function']['name']}" for entry in [*(tools or ()), *calls])
        return list(f"{system}\0{last}{names if self.knows_tools else ''}".encode())

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> FakeRun:
        run = FakeRun(self._events(generation), on_event)
        with self._wake:
            if self._closed:
                raise EngineClosed("the model was shut down")
            self.generations.append(generation)
            self.running.append(run)
            self._wake.notify()
        return run

    def _events(self, generation: Generation) -> Iterator[Event]:
        prompt = bytes(generation.prompt).decode("utf-8", "replace")
        system, said, *_ = ("", prompt) if generation.raw else prompt.split("\0")
        readings: tuple[float, ...] = ()
        for count, token in enumerate(self._tokens(generation, system, said)):
            if count == generation.sampling.max_tokens:
                yield Finish("length")
                return
            yield dataclasses.replace(_told(token, generation.sampling.top_logprobs), readings=readings)
            readings = tuple(count / 10 for _ in generation.probes)
            if said == "!fail":
                yield Failure(RuntimeError("secret detail"))
                return
        n_top = generation.sampling.top_logprobs
        yield Finish("stop", readings, end=None if n_top is None else _told(Token(10, ""), n_top))

    def _tokens(self, generation: Generation, system: str, said: str) -> Iterator[Token]:
        if generation.sampling.json_schema is not None:
            yield Token(2, generation.sampling.json_schema)
            return
        if said == "!think":
            yield Token(1, "hmm, ", "reasoning")
            yield Token(2, "well", "reasoning")
        if said == "!tool":
            yield Token(5, "Wait. ")
            yield Token(6, "", "arguments", opens="find")
            yield Token(7, '{"word": ', "arguments")
            yield Token(8, '"é"}', "arguments")
            yield Token(9, "{}", "arguments", opens="look")
            return
        if said == "!end":
            return
        if said == "!held":
            yield from (Token(4, "") for _ in range(20))
            yield Token(3, "at last")
            return
        steering = sum(float(item.vector[0]) for item in generation.plan.interventions if item.vector is not None)
        marks = (f"[{steering:+.2f}] " if steering else "") + (f"<{system}> " if system else "")
        begun = bytes(generation.prompt[len(generation.prompt) - generation.begun :]).decode()
        for word in f"{marks}You said: {said}".removeprefix(begun).split(" "):
            yield Token(3, word + " ")
        while said == "!forever":
            yield Token(4, "la ")

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self.running or self._closed)
                if self._closed:
                    break
                batch = self.running = [run for run in self.running if not run.cancelled.is_set()]
                self.largest_batch = max(self.largest_batch, len(batch))
            for run in batch:
                event = next(run.events)
                if not run.cancelled.is_set():
                    run.on_event(event)
                if isinstance(event, Finish | Failure):
                    run.cancelled.set()
            time.sleep(self.token_s)
        for run in self.running:
            if not run.cancelled.is_set():
                run.on_event(Failure(EngineClosed("the model was shut down")))

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        shape = (len(rollouts), N_LAYERS, HIDDEN)
        if progress is not None:
            progress(len(rollouts))
        return {span: SpanStats(np.ones(shape, np.float32), np.ones(shape[:2], np.float32)) for span in spans}

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        lengths = [1 if span == "last_prompt" else len(rollout.response) for rollout in rollouts]
        return [np.ones((length, len(blocks), HIDDEN), np.float32) for length in lengths]

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        if progress is not None:
            progress(len(rollouts))
        return [-np.asarray(rollout.response, np.float32) for rollout in rollouts]

    def read(
        self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> AnswerReadings:
        means = np.ones((len(rollouts), len(blocks), HIDDEN), np.float32)
        return AnswerReadings(means, self.score(rollouts, progress=progress))

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        return np.tile(-np.asarray(token_ids, np.float32), (len(prompts), 1))

    def likelihoods(
        self,
        texts: Sequence[Sequence[int]],
        plans: Sequence[Plan],
        n_top: int,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[list[Likelihood]]:
        self.reading = True
        self.scored.append(list(plans))
        while bytes(texts[0]) == b"!slow" and not given_up():
            time.sleep(0.01)
        self.reading = False
        top = tuple((id_, -float(id_)) for id_ in range(97, 97 + n_top))
        return [[Likelihood(-float(token), top) for token in text[1:]] for text in texts]

    def tokenize(self, text: str) -> list[int]:
        return self.encode(text)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return [decoder.decode(bytes([id_])) for id_ in token_ids]

    def check_schema(self, schema: str | None, calls: CallRules | None = None) -> None:
        if "!impossible" in (schema or ""):
            raise Refusal("it is !impossible", "json_schema")

    def speller(self, *, marked: bool = False) -> Callable[[int], bytes]:
        return (lambda token: bytes([token])) if marked else (lambda token: b"\xc3%d" % token)

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._worker.join()


if TYPE_CHECKING:
    _: Engine = FakeEngine()


def _told(token: Token, n_top: int | None) -> Token:
    if n_top is None or token.channel != "content":
        return token
    top = tuple((id_, -float(id_)) for id_ in range(1, n_top + 1))
    return dataclasses.replace(token, logprob=-float(token.id), top=top)


def save_vector(
    folder: Path | str,
    trait: str,
    positive: str,
    negative: str,
    *,
    model: str = "fake",
    fingerprint: str = "",
    score: float | None = None,
    responses: bool = False,
) -> str:
    """A vector along the first dimension that adds the coefficient itself at coefficient 1 and -1. With `responses` it
    knows the means of answers too, told apart best in the blocks 1 and 2."""
    means = {name: np.zeros((N_LAYERS, HIDDEN), np.float32) for name in CONDITIONS}
    means["positive"][:, 0], means["negative"][:, 0] = 1, -1
    spans: list[Span] = ["last_prompt", "response"] if responses else ["last_prompt"]
    choice = PoleChoice(
        block=1,
        span="last_prompt",
        positions="last_prompt",
        relative_dose=0.5,
        measured_range=(0.0, 1.5),
        score=score,
    )
    vector = PersonaVector(
        model_id=model,
        fingerprint=fingerprint or fingerprint_of(model),
        trait=trait,
        positive=positive,
        negative=negative,
        n_layers=N_LAYERS,
        hidden_size=HIDDEN,
        created="2025-01-01T00:00:00Z",
        software_version="0",
        method="fake",
        poles={"positive": choice, "negative": choice},
        means=dict.fromkeys(spans, means),
        residual_norms=dict.fromkeys(spans, np.full(N_LAYERS, 2, np.float32)),
        separation={"response": [0.5, 0.9, 0.9, 0.8]} if responses else {},
    )
    return VectorStore([folder]).save(vector)


def settings_in(folder: Path, **options: Any) -> Settings:
    """Default settings but for `options`, with every folder below `folder`."""
    return Settings(
        vectors_dir=str(folder / "vectors"),
        traits_dir=folder / "traits",
        jobs_dir=folder / "jobs",
        transfers_dir=folder / "transfers",
        **options,
    )


def model_settings(*ids: str) -> list[ModelSettings]:
    return [ModelSettings(id=id_, source=id_) for id_ in ids]


def fake_registry(*engines: FakeEngine) -> Registry:
    """A registry whose models are loaded already."""
    by_id = {engine.info.id: engine for engine in engines}
    registry = Registry(model_settings(*by_id), load=lambda settings, max_batch: by_id[settings.id])
    registry.start()
    assert registry.wait(30)
    return registry


_hasty = ModuleType("asyncio")
vars(_hasty).update(vars(asyncio), sleep=lambda seconds: asyncio.sleep(min(seconds, 0.01)))


class PromptServer(uvicorn.Server):
    """uvicorn, but told to stop it looks up at once rather than after a tenth of a second, and for its connections it
    waits no longer than they take to close."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        with mock.patch.object(uvicorn.server, "asyncio", _hasty):
            await super().shutdown(sockets)


@contextlib.contextmanager
def running(app: ASGIApp, **options: Any) -> Iterator[str]:
    """A real uvicorn on a free port, ended as a signal ends one; yields its URL without a path. `options` are
    uvicorn.Config's. What it answers is held to OpenAI's schema."""
    AppStatus.should_exit = False
    server = PromptServer(uvicorn.Config(watched(app), port=0, log_config=None, timeout_graceful_shutdown=3, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(30)
        # sse-starlette keeps it for the whole process; other servers of the tests go on.
        AppStatus.should_exit = False
        assert not thread.is_alive()


@contextlib.contextmanager
def serving(settings: Settings, *engines: FakeEngine) -> Iterator[str]:
    """A real server in front of fake engines."""
    registry = fake_registry(*engines)
    try:
        with running(create_app(settings, registry)) as url:
            yield url
    finally:
        registry.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something another thread does; AssertionError when it does not, even on a machine that is busy."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)

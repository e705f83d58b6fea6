"""What a server costs beside its model: each one's model answers at once, so that all that is left is the surface.

All servers run at the same time and take turns, so what the machine does meanwhile falls on all alike, and the ratio of
two within a round means something. Each renders and tokenises prompts, and turns tokens into text and into HTTP.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import lean
from tests.benchmarks.client import BenchmarkError, ask
from tests.benchmarks.contenders import MAX_BATCH, OTHERS, llama_cpp_python, transformers_serve
from tests.benchmarks.measure import Progress
from tests.benchmarks.models import TINY, TINY_GGUF
from tests.benchmarks.records import SurfaceResult, SurfaceServer, today, versions
from tests.benchmarks.servers import Running, Server, program, running

AT_ONCE = 32
WHOLE_TOKENS = 8  # of an answer that is not streamed
STREAM_TOKENS = 64
SCRIPTS = Path(__file__).parent / "at_once"


@dataclass(frozen=True)
class Amount:
    """How much to measure: `rounds`, and in each so many whole answers and, 32 at a time, streams."""

    rounds: int = 7
    whole: int = 256
    streams: int = 64


QUICK = Amount(rounds=1, whole=64, streams=32)


def ours() -> Server:
    """`persona-proxy serve` over llama.cpp without llama.cpp's work."""
    model = f"{TINY_GGUF.id}={TINY_GGUF.prepared().path}"
    flags = ["serve", "--model", model, *TINY_GGUF.place("cpu"), "--port", "{port}"]
    command = [sys.executable, "-m", "tests.benchmarks.at_once.ours", *flags]
    environment = {"PERSONA_PROXY_MAX_BATCH": str(MAX_BATCH), "PERSONA_PROXY_MAX_QUEUE": str(8 * MAX_BATCH)}
    return Server(name="ours", command=command, model=TINY_GGUF.id, environment=environment)


def llama_cpp_at_once() -> Server:
    """llama-cpp-python's server without llama.cpp's work."""
    server = llama_cpp_python(TINY_GGUF, TINY_GGUF.prepared(), "cpu")
    flags = server.command[server.command.index("llama_cpp.server") + 1 :]
    return _at_once(server, "llama_cpp_server.py", flags)


def transformers_at_once() -> Server:
    """transformers' server without the model's work."""
    server = transformers_serve(TINY, TINY.prepared(), "cpu")
    return _at_once(server, "transformers_serve.py", server.command[1:])


def _at_once(server: Server, script: str, flags: Sequence[str]) -> Server:
    command = [program(OTHERS, "python"), str(SCRIPTS / script), *flags]
    return Server(name=server.name, command=command, model=server.model, note=server.note)


CONTENDERS: dict[str, Callable[[], Server]] = {
    "ours": ours,
    "llama-cpp-python": llama_cpp_at_once,
    "transformers": transformers_at_once,
}


async def measure_surface(names: Sequence[str], amount: Amount, progress: Progress) -> SurfaceResult:
    """Measure our own server and those of `names` in turns. What others can't do is in the result; BenchmarkError where
    our own can't."""
    found = {name: SurfaceServer(name) for name in names}
    async with contextlib.AsyncExitStack() as stack:
        started: dict[str, tuple[Server, Running]] = {}
        for name in names:
            progress(f"{name}: starting", 0, amount.rounds)
            try:
                server = CONTENDERS[name]()
                process = await stack.enter_async_context(running(server, threads=1))
                await _warm_up(server, process, amount)
            except BenchmarkError as error:
                if name == "ours":
                    raise
                found[name] = SurfaceServer(name, failure=str(error))
            else:
                started[name] = server, process
        for done in range(amount.rounds):
            order = list(started)[done % len(started) :] + list(started)[: done % len(started)]
            for name in order:
                progress(name, done, amount.rounds)
                await _round(*started[name], amount, found[name])
        progress("measured", amount.rounds, amount.rounds)
    return SurfaceResult(
        date=today(),
        versions=versions(OTHERS),
        at_once=AT_ONCE,
        whole_tokens=WHOLE_TOKENS,
        stream_tokens=STREAM_TOKENS,
        servers=list(found.values()),
    )


async def _warm_up(server: Server, process: Running, amount: Amount) -> None:
    """See once that streams are as long as was asked for, then what a round does once."""
    answer = await ask(process.client, _body(server, 0, STREAM_TOKENS, stream=True))
    if answer.completion_tokens != STREAM_TOKENS:
        raise BenchmarkError(f"an answer had {answer.completion_tokens} tokens, not {STREAM_TOKENS}")
    await _round(server, process, amount, SurfaceServer(server.name))


async def _round(server: Server, process: Running, amount: Amount, result: SurfaceServer) -> None:
    url = str(process.client.base_url)
    whole = [_body(server, number, WHOLE_TOKENS, stream=False) for number in range(amount.whole)]
    streams = [_body(server, number, STREAM_TOKENS, stream=True) for number in range(amount.streams)]
    result.requests_per_s.append(round(len(whole) / await _timed(url, whole), 2))
    result.ms_per_token.append(round(1000 * await _timed(url, streams) / (len(streams) * STREAM_TOKENS), 5))


async def _timed(url: str, bodies: list[dict[str, Any]]) -> float:
    began = time.perf_counter()
    await lean.send(url, bodies, AT_ONCE)
    return time.perf_counter() - began


def _body(server: Server, number: int, tokens: int, *, stream: bool) -> dict[str, Any]:
    body = server.body("unsteered", number, tokens)
    return body if stream else {**{name: body[name] for name in body if name != "stream_options"}, "stream": False}

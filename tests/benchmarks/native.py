"""Ours beside llama.cpp's own server, on real models: the same file, as many threads, in turns.

Both servers run at the same time and only one is asked at a time, in an order that turns from round to round: what the
machine does meanwhile falls on both alike, and the ratio of two within a round means something. What is kept are those
ratios.

`LLAMA_SERVER` is llama-server's path, where it is not on PATH; docs/results/SPEED.md says how to build one.
"""

import contextlib
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from proxy.catalogue.known import KNOWN
from proxy.settings import models_folder
from tests.benchmarks.client import BenchmarkError, ask, burst
from tests.benchmarks.contenders import ours
from tests.benchmarks.measure import Progress
from tests.benchmarks.models import HALF_BILLION_F16, BenchmarkModel, Prepared, with_vectors
from tests.benchmarks.records import NativeDelay, NativeLoad, NativeResult, NativeStart, today, versions
from tests.benchmarks.servers import Condition, Running, Server, running

STREAMS = (1, 4, 8, 16)
SLOTS = max(STREAMS)
CELLS = 32768  # tokens llama-server has room for, as ours has
ENOUGH = 0.9  # of the tokens asked for; a model may end an answer, and little is lost by it
STORY = "Tell me a very long story about the sea, with many people in it."
SETTING = "The people of the island know the sea, the wind and each other. "  # 14 tokens
LONG = 70  # times the setting: a thousand tokens
TRIES, OTHERS = 4, 500  # how often other prompts are tried, and what is added to their numbers
MIXED = 4000  # added to the numbers of steered requests, whose prompts are then no unsteered one's
TURNS, TURN_TOKENS = 4, 32  # of a conversation
CROWD = 8  # clients at once


@dataclass(frozen=True)
class Amount:
    """How much to measure: `rounds` of bursts of answers of `tokens` tokens, at each of `streams`, and `starts`."""

    rounds: int = 5
    tokens: int = 64
    streams: Sequence[int] = STREAMS
    starts: int = 3


QUICK = Amount(rounds=1, tokens=32, streams=(1, 4), starts=1)


def _real(model: BenchmarkModel, cache: Path) -> Prepared:
    file = KNOWN[model.id].place(models_folder())
    if not file.is_file():
        raise BenchmarkError(f"{model.id} is not on this machine; `persona-proxy pull {model.id}` gets it")
    cache.mkdir(parents=True, exist_ok=True)
    return with_vectors(model, file, cache)


SMALL = replace(
    HALF_BILLION_F16,
    id="smollm2-135m-instruct",
    about="SmolLM2 135M Instruct in Q4_1, 30 blocks of width 576",
    prepare=_real,
)
CODER = replace(
    HALF_BILLION_F16,
    id="qwen2.5-coder-0.5b-instruct",
    about="Qwen2.5-Coder 0.5B Instruct in Q4_K_M, 24 blocks of width 896",
    prepare=_real,
)
MODELS = {model.id: model for model in (SMALL, CODER)}


def llama_server(model: BenchmarkModel, prepared: Prepared) -> Server:
    """llama.cpp's own server, a slot for every stream."""
    program = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
    if program is None or not Path(program).is_file():
        raise BenchmarkError("llama-server is not there; set LLAMA_SERVER to its path")
    flags = ["-m", str(prepared.path), "-np", str(SLOTS), "-c", str(CELLS), "-t", "{threads}", "--port", "{port}"]
    return Server(name="llama-server", command=[program, *flags, "--host", "127.0.0.1"], model=model.id)


async def measure_native(model: BenchmarkModel, threads: int, amount: Amount, progress: Progress) -> NativeResult:
    """Measure one model on both servers. BenchmarkError where its file or llama-server is not there."""
    prepared = model.prepared()
    servers = {"ours": ours(model, prepared, "cpu"), "llama-server": llama_server(model, prepared)}
    starts = {name: [await _start(server, threads) for _ in range(amount.starts)] for name, server in servers.items()}
    async with contextlib.AsyncExitStack() as stack:
        started = {
            name: (server, await stack.enter_async_context(running(server, threads)))
            for name, server in servers.items()
        }
        ways: list[tuple[str, Condition]] = [("ours", "unsteered"), ("ours", "mixed"), ("llama-server", "unsteered")]
        loads = []
        for prompt in ("short", "long"):
            for count in amount.streams:
                progress(f"{model.id}: {count} streams, {prompt} prompts", 0, amount.rounds)
                speeds: list[list[float]] = [[] for _ in ways]
                for turn in range(-1, amount.rounds):  # the first to warm up
                    for at in [(turn + step) % len(ways) for step in range(len(ways))]:
                        name, condition = ways[at]
                        speed = await _burst(*started[name], condition, prompt, count, amount.tokens, turn)
                        if turn >= 0:
                            speeds[at].append(speed)
                    progress(f"{model.id}: {count} streams, {prompt} prompts", turn + 1, amount.rounds)
                loads.append(NativeLoad(count, prompt, *speeds))
        firsts = await _delays(started, amount.rounds)
        delays = []
        for what, first in DELAYS.items():
            progress(f"{model.id}: {what}", 0, amount.rounds)
            seconds: list[list[float]] = [[] for _ in ways]
            for turn in range(amount.rounds):
                for at in [(turn + step) % len(ways) for step in range(len(ways))]:
                    name, condition = ways[at]
                    seconds[at].append(round(await first(*started[name], condition, turn), 4))
                progress(f"{model.id}: {what}", turn + 1, amount.rounds)
            delays.append(NativeDelay(what, *seconds))
    return NativeResult(
        model=model.id,
        about=model.about,
        date=today(),
        versions=versions(),
        threads=threads,
        tokens=amount.tokens,
        loads=loads,
        cold_s={name: cold for name, (cold, _) in firsts.items()},
        warm_s={name: warm for name, (_, warm) in firsts.items()},
        starts={name: NativeStart(*map(list, zip(*each, strict=True))) for name, each in starts.items()},
        delays=delays,
    )


async def _start(server: Server, threads: int) -> tuple[float, float]:
    """Seconds from the command to the end of a first short answer, and resident MB after it."""
    began = time.perf_counter()
    async with running(server, threads, poll_s=0.02) as process:
        took = time.perf_counter() - began
        return round(took, 3), round(psutil.Process(process.pid).memory_info().rss / 1e6, 1)


def _body(server: Server, condition: Condition, prompt: str, number: int, tokens: int) -> dict[str, Any]:
    """A request no two of which are alike. Long prompts begin alike, for that to be read once."""
    body = server.body(condition, number, tokens)
    said = {"role": "user", "content": f"{number:05} {STORY}"}
    body["messages"] = [said] if prompt == "short" else [{"role": "system", "content": SETTING * LONG}, said]
    return body


async def _burst(
    server: Server, process: Running, condition: Condition, prompt: str, count: int, tokens: int, turn: int
) -> float:
    """Tokens per second. A model may end answers early, and then fewer run at once: it is asked others."""
    first = (turn + 2) * SLOTS + (MIXED if condition == "mixed" else 0)
    for others in range(0, TRIES * OTHERS, OTHERS):
        bodies = [_body(server, condition, prompt, first + others + number, tokens) for number in range(count)]
        result = await burst(process.client, bodies, count)
        made = sum(answer.completion_tokens for answer in result.answers)
        if made >= ENOUGH * count * tokens:
            return round(result.tokens_per_s, 2)
    raise BenchmarkError(f"{server.name} made {made} tokens, where {count * tokens} were asked for")


async def _delays(
    started: dict[str, tuple[Server, Running]], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds to the first token of a long prompt that was never seen, and of one that begins as it."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in started}
    for turn in range(rounds):
        for name in list(started)[turn % 2 :] + list(started)[: turn % 2]:
            server, process = started[name]
            for times, question in zip(found[name], ("Who are you?", "Where do you live?"), strict=True):
                body = _body(server, "unsteered", "long", turn, 8)
                body["messages"][0]["content"] = f"{name} {turn}. {SETTING * LONG}"
                body["messages"][1]["content"] = question
                times.append(round((await ask(process.client, body)).first_s, 4))
    return found


async def _talk(server: Server, process: Running, condition: Condition, turn: int) -> float:
    """Seconds to the first token of a conversation's next turn, the median of all but the first: what was said before
    has been read or written, and the history holds the answers, steered or not."""
    messages: list[dict[str, str]] = []
    seconds = []
    for number in range(TURNS):
        messages.append({"role": "user", "content": f"{turn} {condition} {number}. {SETTING * 4}{STORY}"})
        # Not greedy, as chats are: what an unsteered answer left is then used, where it is else read again.
        body = server.body(condition, turn, TURN_TOKENS) | {"messages": messages, "temperature": 0.7}
        answer = await ask(process.client, body)
        messages.append({"role": "assistant", "content": answer.text})
        seconds.append(answer.first_s)
    return statistics.median(seconds[1:])


async def _crowd(server: Server, process: Running, condition: Condition, turn: int) -> float:
    """Seconds to the first token, the median over clients that come together with one long system prompt that nobody
    has seen, each with a persona of its own if any."""
    bodies = [_body(server, condition, "long", turn * CROWD + number, 8) for number in range(CROWD)]
    for body in bodies:
        body["messages"][0]["content"] = f"{turn} {condition}. {SETTING * (LONG // 2)}"
    result = await burst(process.client, bodies, CROWD)
    return statistics.median(answer.first_s for answer in result.answers)


DELAYS = {
    f"a conversation's next turn, of {TURNS} with answers of {TURN_TOKENS} tokens": _talk,
    f"{CROWD} clients at once, one new system prompt of five hundred tokens": _crowd,
}

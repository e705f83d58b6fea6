"""A server under test: how it is started, and how it is asked. Starts its process and ends it.

To add one is to write a function that returns a Server; see contenders.py. Nothing here knows any server by name.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from proxy.settings import ENVIRONMENT_PREFIX
from tests.benchmarks.client import BenchmarkError, Unavailable, ask, new_client

Condition = Literal["unsteered", "one", "mixed"]
CONDITIONS: tuple[Condition, ...] = ("unsteered", "one", "mixed")

START_S = 900.0  # a large model may have to be read from a slow disk
END_S = 20.0
POLL_S = 0.25
SHORT_ANSWER = 8  # tokens; GPT-OSS needs three before its first text
QUESTION = "Tell me about the capital of France."
LOG_TAIL = 1500  # characters


@dataclass(frozen=True)
class Server:
    """One server with one model.

    `command`: what starts it, with {port} for its port and {threads} for how many to compute with; `before`: commands
    that must have succeeded first. `model`: the name requests use. `conditions`: what it can do; `steer` turns a
    persona of `personas` and a coefficient into fields of the request. `fixed_length`: fields that keep an answer going
    until max_tokens, where the model alone does not. `at_once`: how many requests it can take, where it breaks off what
    is more. `note`: what readers should know of it.
    """

    name: str
    command: Sequence[str]
    model: str
    conditions: tuple[Condition, ...] = ("unsteered",)
    personas: Sequence[str] = ()
    steer: Callable[[str, float], dict[str, Any]] = lambda persona, coefficient: {}
    fixed_length: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[Sequence[str]] = ()
    at_once: int | None = None
    note: str = ""

    def body(self, condition: Condition, number: int, tokens: int) -> dict[str, Any]:
        """A request for `tokens` tokens, greedy. Its `number` makes the prompt, which no prefix cache has seen then,
        and in the condition "mixed" the plan: among 8,000 numbers in a row no two have the same."""
        steering: dict[str, Any] = {}
        if condition == "one":
            steering = self.steer(self.personas[0], 1.0)
        elif condition == "mixed":
            turn, persona = divmod(number, len(self.personas))
            steering = self.steer(self.personas[persona], 0.5 + turn % 1000 / 1000)
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{number % 100000:05} {QUESTION}"}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.fixed_length,
            **steering,
        }


@dataclass(frozen=True)
class Running:
    """A server that answers: its process id, and a client of it."""

    pid: int
    client: httpx.AsyncClient


@contextlib.asynccontextmanager
async def running(server: Server, threads: int, poll_s: float = POLL_S) -> AsyncIterator[Running]:
    """The server, ready to answer, with so many threads to compute with; ended on the way out. It is asked for an
    answer every `poll_s` seconds until it gives one.

    BenchmarkError when it can't be started, with the end of what it said.
    """
    environment = _environment(server, threads)
    with tempfile.TemporaryFile() as log:
        port = _free_port()
        process: subprocess.Popen[bytes] | None = None
        try:
            for command in server.before:
                await asyncio.to_thread(subprocess.run, command, env=environment, stdout=log, stderr=log, check=True)
            command = [word.format(port=port, threads=threads) for word in server.command]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            async with new_client(f"http://127.0.0.1:{port}") as client:
                await _until_it_answers(server, process, client, poll_s)
                yield Running(process.pid, client)
        except (OSError, TimeoutError, subprocess.CalledProcessError, BenchmarkError) as error:
            raise BenchmarkError(f"{error}{_tail(log)}") from error
        finally:
            if process is not None:
                _end(process)


async def _until_it_answers(
    server: Server, process: subprocess.Popen[bytes], client: httpx.AsyncClient, poll_s: float
) -> None:
    async with asyncio.timeout(START_S):
        while process.poll() is None:
            with contextlib.suppress(Unavailable):
                await ask(client, server.body("unsteered", 0, SHORT_ANSWER))
                return
            await asyncio.sleep(poll_s)
    raise BenchmarkError(f"it ended with exit code {process.returncode} instead of serving")


def _environment(server: Server, threads: int) -> dict[str, str]:
    """None of the developer's settings, no downloads, and the same number of threads for whatever computes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return inherited | dict.fromkeys(names, str(threads)) | {"HF_HUB_OFFLINE": "1"} | dict(server.environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Any) -> str:
    log.seek(0)
    said = log.read().decode(errors="replace").strip()
    return f"; it said:\n{said[-LOG_TAIL:]}" if said else ""


def program(folder: Path, name: str) -> str:
    """A program of a virtual environment. BenchmarkError where it is not installed."""
    path = folder / "bin" / name
    if not path.is_file():
        raise BenchmarkError(f"{path} is not installed; `make bench` installs what is measured against")
    return str(path)

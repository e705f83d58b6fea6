"""What was measured, as the JSON files in `results` keep it: one file for each kind of machine.

Speeds are kept round by round, so that what a table says can be computed again.
"""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from proxy import __version__
from proxy.errors import SetupError
from tests.benchmarks.models import Engine
from tests.benchmarks.servers import Condition

FOLDER = Path(__file__).parent / "results"


class Machine(msgspec.Struct, frozen=True):
    """`cores`: those this process may use. `gpu`: None where the models ran on the CPU."""

    cpu: str
    cores: int
    gpu: str | None

    @property
    def name(self) -> str:
        """The name of its file, e.g. "cpu-2-cores"."""
        return re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-") if self.gpu else f"cpu-{self.cores}-cores"


class Load(msgspec.Struct, frozen=True):
    """One condition at one concurrency. `tokens_per_s`: of each round. `first_token_s`: median and 95th percentile over
    the answers of all rounds."""

    condition: Condition
    concurrency: int
    tokens_per_s: list[float]
    first_token_s: tuple[float, float]


class ServerResult(msgspec.Struct, frozen=True):
    """One server's loads; none, and why, where it could not be measured. `note`: what readers should know of it."""

    name: str
    loads: list[Load] = []
    note: str = ""
    failure: str | None = None

    def load(self, condition: Condition, concurrency: int) -> Load | None:
        """That one load, if it was measured."""
        wanted = (condition, concurrency)
        return next((load for load in self.loads if (load.condition, load.concurrency) == wanted), None)


class Extraction(msgspec.Struct, frozen=True):
    """Texts per second, of each round: through the engine, and by a plain loop of forward passes."""

    engine: list[float]
    loop: list[float]


class StepCost(msgspec.Struct, frozen=True):
    """Milliseconds of a llama.cpp step of one token for each of so many sequences, of each round: `without` a callback
    in the context, with it and nobody `unsteered`, and with every sequence `steered` at a block of its own."""

    sequences: int
    without: list[float]
    unsteered: list[float]
    steered: list[float]


class ModelResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one model, measured in one run.

    `engine` and `toy`: see BenchmarkModel. `tokens` and `prompt_tokens`: of every answer and prompt. `threads`: what
    each process computed with; `threads_tried`: completion tokens per second of our server by number of threads, where
    that was tried. `alone_tokens_per_s`: one request at a time, in process, by what needs no server: `generate` with a
    hook, or an unsteered `Llama`. `extraction` and `steps`: None where they were not measured.
    """

    model: str
    engine: Engine
    toy: bool
    about: str
    date: str
    versions: dict[str, str]
    dtype: str
    threads: int
    threads_tried: dict[str, float] = {}
    tokens: int
    prompt_tokens: int
    servers: list[ServerResult]
    alone_tokens_per_s: list[float]
    extraction: Extraction | None = None
    steps: list[StepCost] | None = None

    def server(self, name: str) -> ServerResult | None:
        """The server of this name, if it took part."""
        return next((server for server in self.servers if server.name == name), None)


class SoakResult(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of our server over many requests. `rss_mb`: (requests done, resident MB) from the end of the warm-up on;
    `slope_mb`: MB per 1,000 requests, fitted through them."""

    model: str
    date: str
    versions: dict[str, str]
    requests: int
    cancelled: int
    rss_mb: list[tuple[int, float]]
    slope_mb: float


class SurfaceServer(msgspec.Struct, frozen=True):
    """What one server costs beside a model that answers at once, of each round: whole answers per second, and
    milliseconds for each token of 32 streams. None of both, and why, where it could not be measured."""

    name: str
    requests_per_s: list[float] = msgspec.field(default_factory=list)
    ms_per_token: list[float] = msgspec.field(default_factory=list)
    failure: str | None = None


class SurfaceResult(msgspec.Struct, frozen=True, kw_only=True):
    """The surfaces of several servers, measured in turns. `at_once`: requests at a time. `whole_tokens` and
    `stream_tokens`: of each answer."""

    date: str
    versions: dict[str, str]
    at_once: int
    whole_tokens: int
    stream_tokens: int
    servers: list[SurfaceServer]


class NativeLoad(msgspec.Struct, frozen=True):
    """So many streams with "short" or "long" prompts: completion tokens per second of each round, of ours unsteered, of
    ours with all of them steered differently, and of llama-server."""

    streams: int
    prompt: str
    unsteered: list[float]
    mixed: list[float]
    other: list[float]


class NativeDelay(msgspec.Struct, frozen=True):
    """Seconds to the first token where it is `what`, of each round: of ours unsteered, of ours steered, and of
    llama-server."""

    what: str
    unsteered: list[float]
    mixed: list[float]
    other: list[float]


class NativeStart(msgspec.Struct, frozen=True):
    """Of each start: seconds from the command to the end of a first short answer, and resident MB after it."""

    ready_s: list[float]
    resident_mb: list[float]


class NativeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Ours beside llama-server with one model. By server are `cold_s` and `warm_s`, the seconds to the first token of a
    long prompt that was never seen and of one that begins as it, and `starts`, what starting takes. `delays` are of
    what personas make a difference to."""

    model: str
    about: str
    date: str
    versions: dict[str, str]
    threads: int
    tokens: int
    loads: list[NativeLoad]
    cold_s: dict[str, list[float]]
    warm_s: dict[str, list[float]]
    starts: dict[str, NativeStart]
    delays: list[NativeDelay] = []


class Results(msgspec.Struct):
    """One machine's file."""

    machine: Machine
    models: list[ModelResult] = []
    soaks: list[SoakResult] = []
    surface: SurfaceResult | None = None
    native: list[NativeResult] = []

    def put(self, result: ModelResult | SoakResult | NativeResult) -> None:
        """Add a model's result, or put it in the place of its older one."""
        lists: dict[type, list[Any]] = {ModelResult: self.models, SoakResult: self.soaks, NativeResult: self.native}
        kept = lists[type(result)]
        for place, older in enumerate(kept):
            if older.model == result.model:
                kept[place] = result
                return
        kept.append(result)


def read(path: Path, machine: Machine) -> Results:
    """What a file holds; nothing yet for a new one. SetupError for a file that is something else."""
    if not path.is_file():
        return Results(machine)
    try:
        results = msgspec.json.decode(path.read_bytes(), type=Results)
    except msgspec.MsgspecError as error:
        raise SetupError(f"{path}: {error}") from None
    results.machine = machine
    return results


def read_all(folder: Path = FOLDER) -> list[Results]:
    """Every machine's results, in the order of their files' names."""
    return [msgspec.json.decode(path.read_bytes(), type=Results) for path in sorted(folder.glob("*.json"))]


def write(path: Path, results: Results) -> None:
    """Replace a file in one go, indented, so that its history can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_suffix(".making")
    making.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    making.replace(path)


def this_machine(gpu: str | None) -> Machine:
    """The machine this runs on, with the name of the GPU the models run on, if any."""
    return Machine(
        _cpu(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, gpu
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).date().isoformat()


def versions(others: Path | None = None) -> dict[str, str]:
    """Versions of what takes part; `others` is the virtual environment of the other servers, where it is used."""
    found = {"persona-proxy": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "llama-cpp-python"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # the last is an extra
            found[name] = importlib.metadata.version(name)
    python = others / "bin" / "python" if others else None
    if python is not None and python.is_file():
        servers = {"saklas": "saklas", "transformers serve": "transformers", "llama_cpp.server": "llama-cpp-python"}
        code = "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
        command = [str(python), "-c", code, *servers.values()]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        found |= dict(zip(servers, answer, strict=True))
    return found

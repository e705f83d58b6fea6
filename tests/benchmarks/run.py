"""Measures models: every server in turn, then what the parts do in process, all with as many threads."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.client import BenchmarkError
from tests.benchmarks.contenders import CONTENDERS, OTHERS, contender
from tests.benchmarks.measure import CONCURRENCIES, Measured, Progress, Workload, measure
from tests.benchmarks.models import BenchmarkModel, Prepared
from tests.benchmarks.records import Extraction, ModelResult, ServerResult, StepCost, today, versions

TRIAL_CONCURRENCY = 8
STEP_ROUNDS = 6  # each way comes first as often as any other


@dataclass(frozen=True)
class Effort:
    """How much to measure. `quick` is for trying things: its figures mean little."""

    quick: bool = False

    def workload(self, model: BenchmarkModel, own: bool) -> Workload:
        """For our own server, or for another."""
        if self.quick:
            return Workload(min(model.tokens, 16), 2, 1, (1, TRIAL_CONCURRENCY))
        return Workload(model.tokens, model.requests, model.rounds if own else model.rounds_of_others, CONCURRENCIES)

    def in_process_rounds(self, model: BenchmarkModel) -> int:
        """Rounds of generation and extraction in process."""
        return 1 if self.quick else 3 if model.toy else 2


def measure_model(
    model: BenchmarkModel, servers: Sequence[str], device: str, cores: int, effort: Effort, progress: Progress
) -> ModelResult:
    """Everything about one model, by those of `servers` that can run it. BenchmarkError where our own part fails; what
    others can't do is in the result."""
    progress(f"{model.id}: making the model", 0, 1)
    prepared = model.prepared()
    tried = _try_threads(model, prepared, device, cores, effort, progress) if model.toy and device == "cpu" else {}
    threads = max(tried, key=lambda count: tried[count]) if tried else cores
    results: list[ServerResult] = []
    prompt_tokens = 0
    for name in (name for name in servers if name in CONTENDERS[model.engine]):
        result, measured = _measure_server(name, model, prepared, device, threads, effort, progress)
        results.append(result)
        if measured and measured.prompt_tokens is not None:
            prompt_tokens = measured.prompt_tokens
    workload = effort.workload(model, own=False)
    return ModelResult(
        model=model.id,
        engine=model.engine,
        toy=model.toy,
        about=model.about,
        date=today(),
        versions=versions(OTHERS),
        dtype=model.dtype,
        threads=threads,
        threads_tried={str(count): speed for count, speed in tried.items()},
        tokens=workload.tokens,
        prompt_tokens=prompt_tokens,
        servers=results,
        **_measure_parts(model, prepared, device, threads, effort, progress),
    )


def _measure_parts(
    model: BenchmarkModel, prepared: Prepared, device: str, threads: int, effort: Effort, progress: Progress
) -> dict[str, Any]:
    """What is measured in process, as fields of the result."""
    path, workload = str(prepared.path), effort.workload(model, own=False)
    place = [*model.place(device), "--rounds", str(effort.in_process_rounds(model))]
    size = ["--tokens", str(workload.tokens), "--requests", str(workload.requests)]
    progress(f"{model.id}: one at a time, in process", 0, 1)
    if model.engine == "llama_cpp":
        alone = _in_process(["tests.benchmarks.alone_llama", path, *size, *place], threads)
        progress(f"{model.id}: steps with and without the callback", 0, 1)
        rounds = ["--rounds", str(1 if effort.quick else STEP_ROUNDS)]
        steps = _in_process(["tests.benchmarks.callback", path, *model.place(device), *rounds], threads)
        return {"alone_tokens_per_s": alone, "steps": [StepCost(**cost) for cost in steps]}
    alone = _in_process(["tests.benchmarks.alone", path, *size, *place], threads)
    progress(f"{model.id}: extraction", 0, 1)
    texts = ["--texts", str(model.texts // 4 if effort.quick else model.texts)]
    extraction = _in_process(["tests.benchmarks.extraction", model.id, path, *texts, *place], threads)
    return {"alone_tokens_per_s": alone, "extraction": Extraction(**extraction)}


def _measure_server(
    name: str, model: BenchmarkModel, prepared: Prepared, device: str, threads: int, effort: Effort, progress: Progress
) -> tuple[ServerResult, Measured | None]:
    own = name == "ours"
    try:
        server = contender(name, model, prepared, device)
        measured = asyncio.run(measure(server, effort.workload(model, own), threads, progress))
    except BenchmarkError as error:
        if own:
            raise
        return ServerResult(name, failure=str(error)), None
    return ServerResult(name, measured.loads, server.note), measured


def _try_threads(
    model: BenchmarkModel, prepared: Prepared, device: str, cores: int, effort: Effort, progress: Progress
) -> dict[int, float]:
    """Our server's completion tokens per second at eight at once, by number of threads: one, and one per core."""
    speeds = {}
    workload = Workload(effort.workload(model, own=True).tokens, model.requests, 1 if effort.quick else 3, (8,))
    for threads in sorted({1, cores}):
        measured = asyncio.run(measure(contender("ours", model, prepared, device), workload, threads, progress))
        speeds[threads] = float(np.median([speed for load in measured.loads for speed in load.tokens_per_s]))
    return speeds


def _in_process(module: list[str], threads: int) -> Any:
    """What a module prints, run on its own. BenchmarkError with what it said when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", *module], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchmarkError(f"{module[0]} failed:\n{done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])

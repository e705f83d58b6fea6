"""A real server in a process of its own, watched from outside: its memory, threads, files and log."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil

from tests.nursery import Nursery

ROOT = Path(__file__).parents[2]
MODELS = ("demo-qwen2", "demo-gpt-oss-gguf")  # one for each engine
# The real command line, with fewer places to steer tried, so that a job takes seconds.
SERVE = """
import sys
from proxy.cli import main as cli
from proxy.steering import gain, placement
from proxy.steering.judge import rollouts

def smaller(known, **sizes):
    assert known.keys() >= sizes.keys(), sizes
    known.update(sizes)

smaller(vars(placement), N_PLACEMENT_QUESTIONS=2, N_SAMPLES=1, N_PLACES=1, DOSE_STEPS=(1.0,), OTHER_COEFFICIENTS=(0.5,))
smaller(vars(gain), DOSES=(0.5,), N_TEXTS=1, N_TOKENS=12)
smaller(gain.make_texts.__kwdefaults__, n_texts=1, max_tokens=12)
smaller(vars(rollouts.USUAL_ASKING), held_out=8, times=1, max_tokens=60)
sys.exit(cli.main(["serve", "--port", "0", "--device", "cpu", *sys.argv[1:]]))
"""
# The same with an engine that answers without a model.
SERVE_FAKE = """
import runpy, sys
sys.argv[1:1] = ["serve", "--port", "0"]
runpy.run_module("tests.serve_fake", run_name="__main__")
"""
# What a nursery of such servers imports, and what it does for those that have models.
IMPORTS, FOR_MODELS = ("proxy.server", "tests.fakes"), ("proxy.engines.transformers.engine",)
ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
START_S = 120.0
POLL_S = 0.02


@dataclass
class Peak:
    """`megabytes`: the most that the process had in memory while it was watched, less what it had before."""

    megabytes: float = 0.0


class Server:
    """A server in a process of its own, which has told its address. Keeps its log in a file."""

    def __init__(self, log: Path, url: str, pid: int) -> None:
        self.log = log
        self.url = url
        self.process = psutil.Process(pid)
        self.client = httpx.Client(base_url=url, timeout=START_S, trust_env=False)

    def until_ready(self) -> Self:
        """Return once every model is loaded."""
        deadline = time.monotonic() + START_S
        while self.client.get("/ready").status_code != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("the models do not load")
            time.sleep(POLL_S)
        return self

    def megabytes(self) -> float:
        """What it has in memory."""
        return float(self.process.memory_info().rss) / 1e6

    @contextmanager
    def peak(self) -> Iterator[Peak]:
        """Watch its memory meanwhile."""
        found, before, over = Peak(), self.megabytes(), threading.Event()

        def watch() -> None:
            while not over.wait(POLL_S):
                found.megabytes = max(found.megabytes, self.megabytes() - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield found
        finally:
            over.set()
            watcher.join()

    def tracebacks(self) -> list[str]:
        """The last line of each traceback in its log."""
        return tracebacks(self.log)


class Started(Server):
    """`persona-proxy serve` on the folders below `folder`, with `models` loaded before it says so."""

    def __init__(self, folder: Path, models: Sequence[str] = MODELS) -> None:
        folders, log = folders_below(folder), folder / "log"
        with log.open("ab") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", SERVE, *flags_of(models)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**ENVIRON, **folders},
                cwd=ROOT,
            )
        assert self.popen.stdout is not None
        super().__init__(log, announced(self.popen.stdout, log), self.popen.pid)

    def end(self, number: int = signal.SIGTERM) -> float:
        """Seconds from the signal to the end of the process; it is killed after 30."""
        self.client.close()
        started = time.monotonic()
        if self.popen.poll() is None:
            self.popen.send_signal(number)
            try:
                self.popen.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.communicate()
        return time.monotonic() - started


class Forked(Server):
    """`persona-proxy serve` as Started has it, or with other `code`, forked from a nursery of IMPORTS.
    `flags` are more of its command line; jobs have half of `max_batch` answers made at once, and many together take
    less than one by one."""

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        models: Sequence[str] = MODELS,
        *flags: str,
        max_batch: int = 16,
        code: str = SERVE,
    ) -> None:
        log = folder / "log"
        environ = {**ENVIRON, "PERSONA_PROXY_MAX_BATCH": str(max_batch), **folders_below(folder)}
        if code == SERVE:
            nursery.bring(*FOR_MODELS)
        self._child = nursery.start(code, *flags_of(models), *flags, environ=environ, log=log)
        super().__init__(log, announced(self._child.stdout, log), self._child.pid)

    def send_signal(self, number: int) -> None:
        self._child.send_signal(number)

    def end(self, number: int) -> int:
        """Send it a signal, and return its exit code when it has ended."""
        self.client.close()
        self._child.send_signal(number)
        code, _ = self._child.end()
        return code


def announced(output: Iterable[str], log: Path) -> str:
    """The address that a server tells when its models are loaded."""
    said = ""
    for line in output:
        said += line
        if "curl" in line and (found := re.search(r"http://[^\s/]+:\d+", said)):
            return found[0]
    raise RuntimeError(f"the server did not start: {said}{log.read_text()[-2000:]}")


def flags_of(models: Sequence[str]) -> list[str]:
    """Of the command line: the models that are served."""
    return [word for model in models for word in ("--model", model)]


def folders_below(folder: Path) -> dict[str, str]:
    """The variables that have a server keep everything below `folder`."""
    names = ("vectors", "traits", "jobs", "transfers")
    return {f"PERSONA_PROXY_{name.upper()}_DIR": str(folder / name) for name in names}


def tracebacks(log: Path) -> list[str]:
    """The last line of each traceback in a log."""
    found = re.findall(r"^Traceback .*?\n(?=\S)(.*?)$", log.read_text(errors="replace"), re.M | re.S)
    return [str(line) for line in found]


@contextmanager
def serving(folder: Path, models: Sequence[str] = MODELS) -> Iterator[Started]:
    """A server, ready, and ended on the way out."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Started(folder, models)
    try:
        yield server.until_ready()
    finally:
        server.end()

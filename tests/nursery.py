"""Pythons that begin with their imports done: one process imports, and forks each of them.

Each is a process of its own, as `subprocess.Popen([sys.executable, "-c", code, ...])` starts one: with an environment,
output, an exit code, and an interpreter that ends as any other. It only begins in a tenth of the time.
"""

import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
POLL_S = 0.01


class Child:
    """A process of a nursery, and the pipe that it writes its output into."""

    def __init__(self, nursery: "Nursery", pid: int, stdout: int) -> None:
        self.pid = pid
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """The exit code once it has ended, negative for a signal."""
        if self.returncode is None:
            self.returncode = self._nursery.ask([self.pid])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self, timeout: float = 60) -> tuple[int, str]:
        """Its exit code and what else it wrote; an error where it goes on so many seconds after it closed the pipe."""
        output = ""
        if not self.stdout.closed:
            with self.stdout:
                output = self.stdout.read()
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(POLL_S)
        return code, output


class Nursery:
    """The process that has imported `modules`."""

    def __init__(self, *modules: str, environ: Mapping[str, str] = os.environ) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environ,
                cwd=ROOT,
            )

    def start(self, code: str, *arguments: str, environ: Mapping[str, str], log: Path) -> Child:
        """A process that runs `code` with these arguments, as after `python -c`. Its errors are added to `log`."""
        read, write = os.pipe()
        try:
            with log.open("ab") as errors:
                pid = self.ask([code, arguments, dict(environ)], write, errors.fileno())
        finally:
            os.close(write)
        assert pid is not None
        return Child(self, pid, read)

    def bring(self, *modules: str) -> None:
        """Have these imported too for whatever is started from now on."""
        self.ask([modules, "imported"])

    def ask(self, request: list[Any], *files: int) -> int | None:
        """The number of a new process, or the exit code, if any, of the one of that number."""
        socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], files)
        answer: int | None = _received(self._socket)[0][0]
        return answer

    def close(self) -> None:
        """End it, once its children have ended."""
        self._socket.close()
        self._popen.wait(60)


def _received(connection: socket.socket) -> tuple[list[Any], list[int]]:
    """What was sent and the files that came with it; EOFError where the other end is gone."""
    line, files = b"", list[int]()
    while not line.endswith(b"\n"):
        part, more, _, _ = socket.recv_fds(connection, 1 << 16, 2)
        if not part:
            raise EOFError
        line, files = line + part, files + more
    return json.loads(line), files


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # memory that is not looked at stays shared


def _code_of_a_child(connection: socket.socket) -> str:
    """Answer what is asked. It returns in each process that is forked, with the code that this one is to run; in the
    nursery it ends the process."""
    while True:
        try:
            request, files = _received(connection)
        except EOFError:
            sys.exit()
        if len(request) == 1:
            pid, status = os.waitpid(request[0], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif len(request) == 2:
            _import(request[0])
            answer = None
        elif (answer := os.fork()) == 0:
            code, arguments, environ = request
            connection.close()
            for place, file in enumerate(files, 1):
                os.dup2(file, place)
                os.close(file)
            os.environ.clear()
            os.environ.update(environ)
            sys.argv = ["-c", *arguments]
            return str(code)
        for file in files:
            os.close(file)
        connection.sendall(json.dumps([answer]).encode() + b"\n")


if __name__ == "__main__":
    _import(sys.argv[2:])
    exec(_code_of_a_child(socket.socket(fileno=int(sys.argv[1]))), {"__name__": "__main__"})

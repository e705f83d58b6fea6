"""What a server in a real process promises: it says what it does, serves while it loads, and stops cleanly."""

import json
import os
import re
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import msgspec
import pytest

from proxy import server
from proxy.errors import SetupError
from proxy.routes.answering import SHUTDOWN_GRACE_S
from proxy.server import Startup, check_default_personas, check_vectors
from proxy.serving.listening import listen, url_of
from proxy.settings import Settings
from proxy.steering.traits.trait import load_traits, poles
from tests.fakes import FakeEngine, fake_registry, model_settings, save_vector
from tests.hold.server import folders_below
from tests.nursery import Nursery
from vector_store import VectorStore

ROOT = Path(__file__).parent.parent


# What `python -W error::ResourceWarning -m tests.serve_fake` does.
SERVE = """
import runpy, warnings
warnings.simplefilter("error", ResourceWarning)
runpy.run_module("tests.serve_fake", run_name="__main__")
"""


class Process:
    """`persona-proxy serve` on a free port, in front of fake engines."""

    def __init__(self, nursery: Nursery, folder: Path, *flags: str) -> None:
        self.log = folder / "log"
        environ = os.environ | folders_below(folder)
        self.child = nursery.start(SERVE, "serve", *flags, environ=environ, log=self.log)
        self.output = ""

    def read_until(self, text: str) -> str:
        """The output up to a line with `text`."""
        for line in self.child.stdout:
            self.output += line
            if text in line:
                return self.output
        raise AssertionError(f"no {text!r} in:\n{self.output}\n{self.log.read_text()}")

    @property
    def url(self) -> str:
        match = re.search(r"http://\S+:\d+", self.output)
        assert match, self.output
        return match[0]

    def stop(self, number: int) -> tuple[int, str]:
        """Exit code and what stood on stderr."""
        self.child.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str]:
        code, more = self.child.end()
        self.output += more
        return code, self.log.read_text()


Start = Callable[..., Process]


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Start]:
    """Starts `persona-proxy serve` with these flags."""
    started: list[Process] = []

    def start_(*flags: str) -> Process:
        started.append(Process(nursery, tmp_path, *flags))
        return started[-1]

    yield start_
    for process in started:
        process.stop(signal.SIGKILL)


@pytest.fixture
def served(start: Start, tmp_path: Path) -> Process:
    """One fake model with one vector, ready."""
    save_vector(tmp_path / "vectors", "silly", "silly", "serious")
    process = start("--port", "0", "--model", "fake=a/b")
    process.read_until("curl ")
    return process


def test_serve_when_started_then_it_says_what_is_ready_and_its_example_works(served: Process) -> None:
    assert "fake: loading a/b ..." in served.output
    assert "fake: ready after" in served.output
    assert "personas: silly, serious" in served.output
    curl = served.output.strip().splitlines()[-1].strip()
    arguments = shlex.split(curl)
    url, body = arguments[1], arguments[-1]
    answer = httpx.post(url, content=body, headers={"content-type": "application/json"}).json()
    assert answer["steering"]["personas"] == {"silly": 1.0}
    assert answer["choices"][0]["message"]["content"].startswith("[+1.00] You said: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_when_told_to_stop_then_it_ends_quietly(number: int, served: Process) -> None:
    httpx.get(f"{served.url}/health").raise_for_status()
    code, errors = served.stop(number)
    assert code == 0
    assert "Traceback" not in errors and "Error" not in errors


def test_serve_when_told_to_stop_during_an_answer_then_the_answer_is_finished(served: Process) -> None:
    words = " ".join(f"word{i}" for i in range(60))
    body = {"stream": True, "messages": [{"role": "user", "content": words}]}
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, timeout=20) as response:
        lines = response.iter_lines()
        next(lines)
        served.child.send_signal(signal.SIGTERM)
        rest = "\n".join(lines)
    assert "word59" in rest and '"finish_reason":"stop"' in rest and rest.strip().endswith("data: [DONE]")
    assert served.end()[0] == 0


def test_serve_when_an_answer_outlasts_the_grace_then_it_ends_in_an_error_and_the_server_stops(served: Process) -> None:
    body = {"stream": True, "messages": [{"role": "user", "content": "!forever"}]}
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, timeout=20) as response:
        lines = response.iter_lines()
        next(lines)
        served.child.send_signal(signal.SIGTERM)
        rest = "\n".join(lines)
    assert "The server is shutting down." in rest and rest.strip().endswith("data: [DONE]")
    assert served.end()[0] == 0


def test_serve_when_answers_not_streamed_and_half_sent_requests_outlast_the_grace_then_each_gets_a_503(
    served: Process,
) -> None:
    address = served.url.removeprefix("http://")
    half, whole = HTTPConnection(address, timeout=10), HTTPConnection(address, timeout=10)
    half.putrequest("POST", "/v1/chat/completions")
    half.putheader("Content-Length", "100")
    half.endheaders(b"{")
    body = {"messages": [{"role": "user", "content": "!forever"}]}
    whole.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    httpx.get(f"{served.url}/health").raise_for_status()  # so the two that came before it have been taken
    served.child.send_signal(signal.SIGTERM)
    for asked in (half, whole):
        answer = asked.getresponse()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert json.loads(answer.read())["error"]["code"] == "server_stopping"
        asked.close()
    code, errors = served.end()
    assert code == 0 and "Traceback" not in errors


def test_grace_then_the_process_is_gone_before_docker_kills_it() -> None:
    assert server.DRAIN_S + SHUTDOWN_GRACE_S + 1 <= 8  # of docker's ten seconds; the rest is for models to let go


def test_a_process_when_something_does_not_let_go_then_it_ends_all_the_same(nursery: Nursery, tmp_path: Path) -> None:
    code = (
        "import threading, time; from proxy.server import EndAllTheSame; end = EndAllTheSame(0.2); end.begin()\n"
        "end.begin(); threading.Thread(target=time.sleep, args=(60,)).start()"  # which the interpreter waits for
    )
    assert nursery.start(code, environ=os.environ, log=tmp_path / "log").end() == (0, "")


def test_a_process_when_no_thread_of_it_can_run_then_the_system_ends_it(nursery: Nursery, tmp_path: Path) -> None:
    code = (
        "import re; from proxy.server import EndAllTheSame; EndAllTheSame(0.2).begin()\n"
        "re.match('(a+)+$', 'a' * 60 + 'b')"  # which never lets another thread run, and takes years
    )
    assert nursery.start(code, environ=os.environ, log=tmp_path / "log").end() == (-signal.SIGALRM, "")


def test_serve_when_one_model_fails_then_the_other_is_served(start: Start) -> None:
    process = start("--port", "0", "--model", "broken=a/b", "--model", "fake=a/b", "--api-key", "alpha")
    output = process.read_until("curl ")
    assert "broken: failed, its weights are missing" in output
    made = "persona-proxy extract --model fake=a/b --trait all --budget quick"
    assert f"personas: none yet; make them with: {made}" in output
    assert "Authorization: Bearer YOUR_KEY" in output
    models = httpx.get(f"{process.url}/v1/models", headers={"authorization": "Bearer alpha"}).json()["data"]
    assert "fake" in [model["id"] for model in models]


def test_serve_when_no_model_loads_then_exit_2_with_the_reason(start: Start) -> None:
    process = start("--port", "0", "--model", "broken=a/b")
    code, errors = process.end()
    assert (code, errors) == (2, "persona-proxy: no model could be loaded; broken: its weights are missing\n")


def test_serve_when_models_are_on_demand_then_it_is_ready_at_once_and_says_when_each_comes_and_goes(
    start: Start, tmp_path: Path
) -> None:
    save_vector(tmp_path / "vectors", "silly", "silly", "serious")
    config = tmp_path / "proxy.toml"
    config.write_text(
        '[[models]]\nid = "fake"\nsource = "a/b"\nload = "demand"\nunload_after_s = 0.2\n'
        '[[models]]\nid = "broken"\nsource = "a/c"\nload = "demand"\n'
    )
    process = start("--port", "0", "--config", str(config))
    output = process.read_until("curl ")
    assert ", loading" not in output
    assert "fake: a/b, loads when first asked for" in output and "broken: a/c, loads when first asked for" in output
    arguments = shlex.split(output.strip().splitlines()[-1].strip())
    answer = httpx.post(arguments[1], content=arguments[-1], headers={"content-type": "application/json"}).json()
    assert answer["steering"]["personas"] == {"silly": 1.0}
    assert "fake: loading a/b ..." in process.read_until("fake: ready after")
    process.read_until("fake: unloaded")
    body = {"model": "broken", "messages": [{"role": "user", "content": "x"}]}
    assert httpx.post(f"{process.url}/v1/chat/completions", json=body).status_code == 503
    process.read_until("broken: failed, its weights are missing")
    assert httpx.get(f"{process.url}/health").status_code == 200
    assert process.stop(signal.SIGTERM)[0] == 0
    assert process.output.count("curl ") == 1


def test_serve_when_the_first_model_has_no_vectors_then_it_is_asked_plainly_and_another_steered(
    start: Start, tmp_path: Path
) -> None:
    save_vector(tmp_path / "vectors", "silly", "silly", "serious")
    process = start("--port", "0", "--model", "plain=a/c", "--model", "fake=a/b")
    process.read_until("and steered:")
    output = process.read_until('"persona": "silly"')
    bodies = [json.loads(shlex.split(line)[-1]) for line in output.splitlines() if "curl " in line]
    assert [(body["model"], body.get("persona")) for body in bodies] == [("plain", None), ("fake", "silly")]


def test_serve_when_all_that_loads_at_the_start_fails_then_those_on_demand_are_served(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(
        '[[models]]\nid = "broken"\nsource = "a/c"\n[[models]]\nid = "fake"\nsource = "a/b"\nload = "demand"\n'
    )
    process = start("--port", "0", "--config", str(config))
    output = process.read_until("curl ")
    assert ", loading 1 model ..." in output and "broken: failed, its weights are missing" in output
    assert '"model": "fake"' in output
    assert httpx.get(f"{process.url}/ready").status_code == 200


def test_serve_when_the_port_is_in_use_then_one_line_says_which_and_what_to_do(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--port", str(port), "--model", "fake=a/b")
        code, errors = process.end()
    assert code == 2
    assert errors.startswith(f"persona-proxy: port {port} on 127.0.0.1 is in use; choose another: ")
    assert "--port" in errors and "PORT=" in errors and errors.count("\n") == 1


def test_listen_when_the_host_is_not_this_machines_then_setup_error() -> None:
    with pytest.raises(SetupError, match="is not an address"):
        listen("no.such.host.invalid", 0)
    with pytest.raises(SetupError, match=r"can't listen on 192\.0\.2\.1 port 0"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("box.local", "http://box.local:80"),
    ],
)
def test_url_of_when_the_host_is_every_address_then_it_is_one_that_can_be_opened(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_the_example_after_a_start_then_is_of_the_first_model_that_can_be_silly(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest", model="plain")
    save_vector(settings.vectors_dir, "silly", "silly", "serious", model="funny")
    save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest", model="funny")
    registry = fake_registry(FakeEngine("plain"), FakeEngine("funny"))
    served = msgspec.structs.replace(settings, models=model_settings("plain", "funny"))
    startup = Startup(served, registry, poles(load_traits()), "http://here", on_hopeless=lambda: None)
    try:
        for model in ("plain", "funny"):
            startup.on_change(registry.state(model))
    finally:
        registry.close()
    shown = capsys.readouterr().out
    assert '"model": "funny"' in shown and '"persona": "silly"' in shown and '"temperature": 0.7' in shown


def test_the_start_when_a_model_was_loaded_before_then_that_is_told_first_and_how_to_use_it_at_the_end(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = fake_registry(FakeEngine("early"))
    served = msgspec.structs.replace(settings, models=model_settings("early"))
    startup = Startup(served, registry, poles(load_traits()), "http://here", on_hopeless=lambda: None)
    try:
        startup.begin()
        registry.listen(startup.on_change)
        shown, until = "", time.monotonic() + 60
        while "Ready at" not in shown and time.monotonic() < until:  # its last change may be yet to come
            shown += capsys.readouterr().out
            time.sleep(0.01)
    finally:
        registry.close()
    said = ["loading 1 model", "early: loading", "early: ready after", "Ready at http://here"]
    assert sorted(said, key=shown.index) == said


@pytest.mark.parametrize("persona", ["silly", "serious@-0.5", "none"])
def test_check_default_personas_when_requests_could_get_them_then_nothing(persona: str) -> None:
    check_default_personas(Settings(default_persona=persona, key_personas={"alpha": persona}), poles(load_traits()))


def test_check_default_personas_when_one_is_unknown_or_out_of_range_then_setup_error_names_the_setting() -> None:
    known = poles(load_traits())
    with pytest.raises(SetupError, match="^default_persona: there is no persona 'sily' .*'silly'.*; possible: .*silly"):
        check_default_personas(Settings(default_persona="sily"), known)
    with pytest.raises(SetupError, match="^key_personas: the coefficient 9 is out of range"):
        check_default_personas(Settings(key_personas={"alpha": "silly@9"}), known)


def test_check_vectors_when_their_place_can_not_be_reached_then_setup_error_names_the_setting(tmp_path: Path) -> None:
    check_vectors(VectorStore([tmp_path / "nowhere"]))
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="^vectors_dir: .*file"):
        check_vectors(VectorStore([tmp_path / "file"]))

"""Several servers of one model, scripted: who gets what, and what happens where one of them fails."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.engines.base import Event, Failure, Finish, Generation, Run, Sampling, Talk, Token
from proxy.engines.errors import (
    EngineClosed,
    NoUpstream,
    UpstreamBusy,
    UpstreamFailure,
    UpstreamRefusal,
    UpstreamSilent,
)
from proxy.engines.registry import Registry
from proxy.engines.upstream.engine import UpstreamEngine, load
from proxy.errors import SetupError
from proxy.server import Startup
from proxy.settings import ModelSettings, Settings, UpstreamSettings
from tests.engines.upstream.servers import QUESTION, Scripted, asked, near, run
from tests.fakes import wait_until


class Answer:
    """One that is under way."""

    def __init__(self, engine: UpstreamEngine, text: str = "What is the capital of France?") -> None:
        self.events: list[Event] = []
        talk = Talk([{"role": "user", "content": text}])
        self.run: Run = engine.start(Generation((), Sampling(64), talk=talk), self.events.append)

    def wait(self) -> "Answer":
        wait_until(lambda: bool(self.events) and isinstance(self.events[-1], Finish | Failure))
        return self

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Token))

    @property
    def error(self) -> Exception | None:
        return self.events[-1].error if isinstance(self.events[-1], Failure) else None


Start = Callable[..., UpstreamEngine]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an engine over scripted servers, and ends all."""
    with contextlib.ExitStack() as ending:

        def start_(*servers: Scripted, **upstream: Any) -> UpstreamEngine:
            urls = " ".join(ending.enter_context(run(server)) for server in servers)
            options = UpstreamSettings(**{"check_every_s": 0.1, "wait_s": 10.0, **upstream})
            engine = load(ModelSettings("far", f"{urls}#big", "upstream", upstream=options), 16)
            ending.callback(engine.close)
            wait_until(lambda: all(each.state == "up" for each in engine.upstreams))
            return engine

        yield start_


def state_of(engine: UpstreamEngine) -> str:
    return engine.upstreams[0].state


def key_for(engine: UpstreamEngine, number: int) -> str:
    """A question that goes to this server while nothing else is under way."""
    pool = engine._pool
    texts = (f"question {n}" for n in range(1000))
    return next(text for text in texts if pool.choose(repr([("user", text)])) is pool.replicas[number])


def test_answers_when_prompts_begin_differently_then_two_servers_share_them(start: Start) -> None:
    servers = Scripted(), Scripted()
    engine = start(*servers)
    for number in range(20):
        assert Answer(engine, f"question {number}").wait().text == "fine"
    assert min(len(server.asked) for server in servers) >= 3
    counts = [{"ok": len(server.asked)} for server in servers]
    wait_until(lambda: [upstream.ended for upstream in engine.upstreams] == counts)


def test_answers_when_prompts_begin_alike_then_one_server_until_it_has_much_more_to_do(start: Start) -> None:
    servers = Scripted(), Scripted()
    engine = start(*servers)
    for server in servers:
        server.script.extend(["held"] * 14)

    def running() -> list[int]:
        return sorted(upstream.running for upstream in engine.upstreams)

    answers = []
    for count in range(1, 6):
        answers.append(Answer(engine))
        wait_until(lambda: sum(running()) == count)  # noqa: B023
        assert running() == [0, count]
    answers += [Answer(engine) for _ in range(9)]
    wait_until(lambda: sum(running()) == 14)
    assert running()[0] >= 3
    for server in servers:
        server.go.set()
    assert [answer.wait().text for answer in answers] == ["fine"] * 14


def test_answer_when_its_end_was_told_then_with_what_the_server_counted(start: Start) -> None:
    finish = Answer(start(Scripted())).wait().events[-1]
    assert isinstance(finish, Finish) and finish.counted is not None
    assert (finish.reason, finish.counted.prompt, finish.counted.answer) == ("stop", 11, 3)


@pytest.mark.parametrize("act", ["lost", 502, 503, 429])
def test_answer_when_its_server_takes_it_not_then_the_other_one_makes_it(start: Start, act: Any) -> None:
    first, second = Scripted(act), Scripted()
    engine = start(first, second)
    answer = Answer(engine, key_for(engine, 0)).wait()
    assert answer.text == "fine" and (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize(
    ("act", "kind", "outcome"),
    [
        (400, UpstreamRefusal, "refused"),
        (422, UpstreamRefusal, "refused"),
        (401, UpstreamFailure, "failed"),
        (404, UpstreamFailure, "failed"),
        (500, UpstreamFailure, "failed"),
        (504, UpstreamSilent, "failed"),
        ("cut", UpstreamFailure, "failed"),
        ({"error": {"message": "no", "type": "server_error"}}, UpstreamFailure, "failed"),
    ],
    ids=str,
)
def test_answer_when_its_server_fails_for_good_then_no_other_is_asked(
    start: Start, act: Any, kind: type[Exception], outcome: str
) -> None:
    first, second = Scripted(act), Scripted()
    engine = start(first, second)
    answer = Answer(engine, key_for(engine, 0)).wait()
    assert type(answer.error) is kind and second.asked == []
    assert engine.upstreams[0].ended == {outcome: 1}


def test_answer_when_it_is_refused_then_the_servers_words_are_told(start: Start) -> None:
    error = Answer(start(Scripted(400))).wait().error
    assert isinstance(error, UpstreamRefusal) and error.message.endswith("refuses the request: because of 400")
    assert error.param == "top_k"


def test_answer_when_all_servers_are_full_then_their_time_to_come_back_is_told(start: Start) -> None:
    error = Answer(start(Scripted(429), Scripted(429))).wait().error
    assert isinstance(error, UpstreamBusy) and error.retry_after_s == 7


def test_answer_when_nothing_comes_then_it_fails_in_time_and_the_server_is_let_go(start: Start) -> None:
    server = Scripted("silent")
    assert isinstance(Answer(start(server, timeout_s=0.3)).wait().error, UpstreamSilent)
    wait_until(lambda: server.gone == 1)


def test_answer_when_it_is_lost_again_and_again_then_it_is_given_up(start: Start) -> None:
    servers = Scripted(*["lost"] * 9), Scripted(*["lost"] * 9)
    assert isinstance(Answer(start(*servers)).wait().error, NoUpstream)
    assert sum(len(server.asked) for server in servers) == 3


def test_answer_when_its_server_does_not_stream_then_it_is_told_and_nobody_else_is_asked(start: Start) -> None:
    server = Scripted("whole")
    error = Answer(start(server)).wait().error
    assert isinstance(error, UpstreamFailure) and "does not stream" in error.message and len(server.asked) == 1


def test_cancel_when_an_answer_is_under_way_then_its_server_is_let_go(start: Start) -> None:
    server = Scripted("silent")
    engine = start(server)
    answer = Answer(engine)
    wait_until(lambda: len(server.asked) == 1)
    answer.run.cancel()
    wait_until(lambda: server.gone == 1 and engine.upstreams[0].running == 0)
    assert answer.events == [] and engine.upstreams[0].ended == {"cancelled": 1}


def test_answers_when_a_server_fails_three_times_then_it_rests_and_one_request_tries_it(start: Start) -> None:
    server = Scripted(500, 500, 500, "held")
    engine = start(server)
    for _ in range(3):
        assert Answer(engine).wait().error is not None
    assert state_of(engine) == "open"
    with pytest.raises(NoUpstream):
        Answer(engine)
    wait_until(lambda: engine.upstreams[0].state == "half_open")
    trial = Answer(engine)
    wait_until(lambda: engine.upstreams[0].running == 1)
    with pytest.raises(NoUpstream):
        Answer(engine)
    server.go.set()
    assert trial.wait().text == "fine" and state_of(engine) == "up"


@pytest.mark.parametrize("how", ["drained", "failing"])
def test_answers_when_a_server_is_drained_or_says_it_fails_then_it_gets_nothing_new_and_ends_what_it_has(
    start: Start, how: str
) -> None:
    first, second = Scripted("held"), Scripted()
    engine = start(first, second)
    text, url = key_for(engine, 0), engine.upstreams[0].url
    running = Answer(engine, text)
    wait_until(lambda: len(first.asked) == 1)
    if how == "drained":
        engine.drain(url, True)
    else:
        first.health = 503
    wait_until(lambda: engine.upstreams[0].state == {"drained": "draining", "failing": "down"}[how])
    assert Answer(engine, text).wait().text == "fine" and (len(first.asked), len(second.asked)) == (1, 1)
    first.go.set()
    assert running.wait().text == "fine"
    engine.drain(url, False)
    first.health = 200
    wait_until(lambda: engine.upstreams[0].state == "up")
    assert Answer(engine, text).wait().text == "fine" and len(first.asked) == 2


def test_start_when_no_server_is_there_then_it_loads_and_a_request_is_told_when_to_come_back() -> None:
    engine = load(ModelSettings("far", "http://127.0.0.1:9/v1#big", "upstream"), 16)
    try:
        assert engine.upstreams[0].problem == "it can't be reached"
        with pytest.raises(NoUpstream) as caught:
            Answer(engine)
        assert caught.value.retry_after_s > 0
    finally:
        engine.close()


def test_start_when_an_address_can_not_be_asked_then_the_others_are(start: Start) -> None:
    with run(Scripted()) as url:
        engine = load(ModelSettings("far", f"http://host:99999/v1 {url}#big", "upstream"), 16)
        try:
            assert [each.state for each in engine.upstreams] == ["down", "up"]
            assert Answer(engine).wait().text == "fine"
        finally:
            engine.close()


def test_start_when_the_server_has_another_model_then_it_says_which(start: Start) -> None:
    with run(Scripted()) as url:
        engine = load(ModelSettings("far", f"{url}#small", "upstream"), 16)
        engine.close()
    assert engine.upstreams[0].problem == "it has no model 'small'; it has: big"


def test_close_when_an_answer_is_under_way_then_it_fails(start: Start) -> None:
    engine = start(Scripted("silent"))
    answer = Answer(engine)
    wait_until(lambda: engine.upstreams[0].running == 1)
    engine.close()
    assert isinstance(answer.wait().error, EngineClosed)
    with pytest.raises(EngineClosed):
        Answer(engine)


def test_key_when_it_is_in_a_variable_or_a_file_then_the_server_gets_it_and_nobody_else(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("FAR_KEY", "sk-secret")
    (tmp_path / "key").write_text("sk-secret\n")
    for where in ({"key_env": "FAR_KEY"}, {"key_file": tmp_path / "key"}):
        server = Scripted(500)
        answer = Answer(start(server, **where)).wait()
        assert server.keys == ["Bearer sk-secret"]
        assert "sk-secret" not in str(answer.error)
    assert "sk-secret" not in caplog.text


def test_load_when_the_key_is_not_there_then_it_says_where_it_was_looked_for(tmp_path: Path) -> None:
    for where, name in (({"key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"), ({"key_file": tmp_path / "none"}, "none")):
        settings = ModelSettings("far", "http://h/v1#big", "upstream", upstream=UpstreamSettings(**where))
        with pytest.raises(SetupError, match=name):
            load(settings, 16)


def test_clients_when_servers_fail_then_they_get_statuses_and_when_to_come_back(tmp_path: Path) -> None:
    server = Scripted(429, 503, 500, 401, "silent")
    with run(server) as url, near(tmp_path, [url], timeout_s=0.3) as (client, registry):
        wait_until(lambda: registry.upstreams("far")[0].state == "up")
        told = [asked(client, stream=True) for _ in range(3)]
        assert [response.status_code for response in told] == [429, 503, 502]
        assert [response.headers.get("retry-after") for response in told] == ["7", "7", None]
        wait_until(lambda: registry.upstreams("far")[0].state in ("up", "half_open"))
        assert asked(client).json()["error"]["code"] == "upstream_failed"


def test_stream_when_its_server_is_lost_behind_a_token_then_the_error_is_its_last_event_and_the_log_tells_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy")
    with run(Scripted("cut")) as url, near(tmp_path, [url]) as (client, _):
        started = time.monotonic()
        text = asked(client, stream=True, messages=QUESTION).text
    assert '"fi"' in text and "upstream_failed" in text and text.endswith("data: [DONE]\n\n")
    assert time.monotonic() - started < 30
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"far: the server at {url} was lost in the middle of an answer" in warned
    wait_until(lambda: "ended=failed" in caplog.text)


def test_a_start_when_a_server_has_no_such_model_then_that_is_said_beside_that_it_is_ready(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with run(Scripted()) as url:
        model = ModelSettings("far", f"{url}#bog", "upstream")
        registry = Registry([model])
        settings = Settings(models=[model])
        registry.start()
        try:
            assert registry.wait(60)
            startup = Startup(settings, registry, {}, "http://here", on_hopeless=lambda: None)
            startup.on_change(registry.state("far"))
        finally:
            registry.close()
    said = capsys.readouterr().out
    assert "far: ready after" in said
    assert f"    but {url} gets nothing yet: it has no model 'bog'; it has: big\n" in said
    assert f"far: the server at {url} gets nothing new: it has no model 'bog'" in caplog.text


def test_a_drained_server_when_its_model_is_loaded_anew_then_it_is_drained_still(tmp_path: Path) -> None:
    with run(Scripted()) as first, run(Scripted()) as second, near(tmp_path, [first, second]) as (client, registry):

        def states() -> list[str]:
            return [each.state for each in registry.upstreams("far")]

        wait_until(lambda: states() == ["up", "up"])
        client.post("/api/models/far/drain", json={"url": first}).raise_for_status()
        for path in ("unload", "load"):
            client.post(f"/api/models/far/{path}").raise_for_status()
        wait_until(lambda: states() == ["draining", "up"])
        client.post("/api/models/far/drain", json={"url": first, "draining": False}).raise_for_status()
        for path in ("unload", "load"):
            client.post(f"/api/models/far/{path}").raise_for_status()
        wait_until(lambda: states() == ["up", "up"])


def test_operators_when_servers_run_a_model_then_status_metrics_and_draining_tell_of_each(tmp_path: Path) -> None:
    with run(Scripted()) as first, run(Scripted()) as second, near(tmp_path, [first, second]) as (client, _):

        def upstreams() -> list[dict[str, Any]]:
            (model,) = client.get("/api/status").json()["models"]
            return list(model["upstreams"])

        wait_until(lambda: [each["state"] for each in upstreams()] == ["up", "up"])
        drained = client.post("/api/models/far/drain", json={"url": first})
        assert [each["state"] for each in drained.json()["data"]] == ["draining", "up"]
        for _ in range(2):
            assert asked(client).status_code == 200
        wait_until(lambda: upstreams()[1]["ended"] == {"ok": 2})
        metrics = client.get("/metrics").text
        label = f'model="far",upstream="{second}"'
        assert f'persona_proxy_upstream_requests_total{{model="far",outcome="ok",upstream="{second}"}} 2.0' in metrics
        assert f'persona_proxy_upstream_status{{model="far",status="draining",upstream="{first}"}} 1.0' in metrics
        assert f"persona_proxy_upstream_requests_running{{{label}}} 0.0" in metrics
        refused = client.post("/api/models/far/drain", json={"url": "http://elsewhere/v1"})
        assert refused.status_code == 404 and first in refused.json()["error"]["message"]
        again = client.post("/api/models/far/drain", json={"url": first, "draining": False})
        assert [each["state"] for each in again.json()["data"]] == ["up", "up"]

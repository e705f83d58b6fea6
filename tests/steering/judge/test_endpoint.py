"""A judge behind an HTTP endpoint: asked for one token, patient with what passes, plain about what does not."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from proxy.errors import SetupError
from proxy.judge_settings import JudgeSettings
from proxy.settings import Settings
from proxy.steering.judge import Answer, endpoint
from proxy.steering.judge.endpoint import EndpointJudge
from proxy.steering.traits.trait import Trait
from tests.fakes import FakeEngine, serving

KEY = "sk-very-secret"
Reply = tuple[int, dict[str, Any] | str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(endpoint, "LONGEST_PAUSE_S", 0.002)


class StandIn:
    """An endpoint that answers as `reply` says, and remembers what it was asked with which key."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        self.reply = reply
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[str]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.lock:
                    outer.asked.append(body | {"path": self.path})
                    outer.keys.add(self.headers["authorization"])
                    status, content = outer.reply(body)
                encoded = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            def log_message(self, *args: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def saying(*likeliest: tuple[str, float]) -> Reply:
    top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in likeliest]
    return 200, {"choices": [{"message": {"content": ""}, "logprobs": {"content": [{"top_logprobs": top}]}}]}


def digits(body: dict[str, Any]) -> Reply:
    """9 or 7 where the prompt has "great", else 0; no digit where it has "odd"."""
    prompt = body["messages"][-1]["content"]
    if "odd" in prompt:
        return saying(("Well", 0.9), ("9", 0.1))
    return saying(("9", 0.25), (" 9", 0.25), ("7", 0.5)) if "great" in prompt else saying(("0", 0.9), ("x", 0.1))


def judge_at(url: str, key_env: str | None = None) -> EndpointJudge:
    return EndpointJudge(JudgeSettings("big", url, "large", key_env))


def answer(text: str, trait: Trait) -> Answer:
    return Answer("Why?", text, trait, "positive")


def problem(reply: Callable[[dict[str, Any]], Reply], trait: Trait, key_env: str | None = None) -> tuple[str, int]:
    """What is said of an endpoint that can't judge, and how many requests it took to find out."""
    stand_in = StandIn(reply)
    with stand_in.running() as url, pytest.raises(SetupError) as caught:
        judge_at(url, key_env).score([answer("great", trait)])
    assert KEY not in caught.value.message and "\n" not in caught.value.message
    assert caught.value.message.startswith(f"the judge big ({url}/chat/completions) ")
    return caught.value.message, len(stand_in.asked)


def test_score_then_the_expected_digit_of_whatever_tokens_show_one_in_order(trait: Trait) -> None:
    stand_in = StandIn(digits)
    with stand_in.running() as url:
        scores = judge_at(url).score([answer(text, trait) for text in ("great", "dull", "odd", "great")])
    assert scores[0] is not None and scores[0] == scores[3]
    assert (scores[0].trait, scores[0].coherence) == pytest.approx((100 * 8 / 9, 100 * 8 / 9), rel=1e-3)
    assert scores[1] is not None and scores[1].trait == pytest.approx(0, abs=0.1)
    assert scores[2] is None
    assert len(stand_in.asked) == 6  # each prompt once
    for body in stand_in.asked:
        assert (body["path"], body["model"]) == ("/v1/chat/completions", "large")
        assert (body["max_tokens"], body["temperature"], body["logprobs"], body["top_logprobs"]) == (1, 0, True, 20)
    assert stand_in.keys == {None}


def test_score_when_there_is_a_key_then_it_is_in_the_header_alone(
    trait: Trait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIG_KEY", KEY)
    stand_in = StandIn(digits)
    with stand_in.running() as url:
        judge_at(url, "BIG_KEY").score([answer("great", trait)])
    assert stand_in.keys == {f"Bearer {KEY}"} and KEY not in str(stand_in.asked)
    monkeypatch.delenv("BIG_KEY")
    with pytest.raises(SetupError, match="the judge big takes its key from BIG_KEY, which is not set"):
        judge_at("http://localhost:1/v1", "BIG_KEY")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_score_when_turned_away_for_now_then_tried_again(status: int, trait: Trait) -> None:
    calls: list[int] = []

    def busy_at_first(body: dict[str, Any]) -> Reply:
        calls.append(1)
        return (status, "busy") if len(calls) <= 3 else digits(body)

    with StandIn(busy_at_first).running() as url:
        assert judge_at(url).score([answer("dull", trait)])[0] is not None


def test_score_when_turned_away_every_time_then_given_up(trait: Trait) -> None:
    said, n_asked = problem(lambda body: (503, "busy"), trait)
    assert "answered 503 4 times" in said and n_asked <= 8


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((401, {"error": {"message": f"bad key {KEY}"}}), "refuses the key in BIG_KEY: 401"),
        ((404, {"error": {"message": "no model 'large'\nat all"}}), "answered 404: no model 'large'"),
        ((400, "<html>"), "answered 400: <html>"),
        ((200, "<html>"), "answered something that is not JSON"),
        ((200, {"choices": [{"message": {"content": "9"}, "logprobs": None}]}), "gave no log-probabilities"),
        ((200, {"choices": []}), "gave no log-probabilities"),
        ((200, []), "gave no log-probabilities"),
    ],
)
def test_score_when_it_will_never_do_then_said_at_once(
    reply: Reply, expected: str, trait: Trait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIG_KEY", KEY)
    said, n_asked = problem(lambda body: reply, trait, "BIG_KEY")
    assert expected in said and n_asked <= 2  # one for the trait, one for the coherence


def test_score_when_a_key_is_wanted_and_none_given_then_said_how(trait: Trait) -> None:
    assert "refuses a request without a key (`key_env` names one): 401" in problem(lambda body: (401, ""), trait)[0]


def test_score_when_nobody_is_there_then_said_so(trait: Trait) -> None:
    with StandIn(digits).running() as url:
        pass
    with pytest.raises(SetupError, match=r"the judge big \(http.*\) can't be reached: "):
        judge_at(url).score([answer("dull", trait)])


def test_score_when_a_persona_proxy_is_asked_then_its_answer_is_understood(settings: Settings, trait: Trait) -> None:
    with serving(settings, FakeEngine("large", context_length=5000)) as url:
        assert judge_at(f"{url}/v1").score([answer("great", trait)]) == [None]  # it says "You", which is no digit

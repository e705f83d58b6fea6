"""What the operator sees of the server at work."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from proxy.settings import Settings
from tests.fakes import FakeEngine, serving


def asked(content: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **fields}


def until(client: httpx.Client, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The status as soon as `holds` of it."""
    for _ in range(200):
        found: dict[str, Any] = client.get("/api/status").json()
        if holds(found):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def test_the_status_when_an_answer_is_under_way_then_it_runs_and_its_tokens_are_counted(settings: Settings) -> None:
    engine = FakeEngine(token_s=0.01)
    with serving(settings, engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        idle = client.get("/api/status").json()
        assert idle["memory"]["process_bytes"] > 10_000_000
        assert idle["models"] == [
            {
                "id": "fake",
                "status": "ready",
                "weights_bytes": None,
                "cached_bytes": 4096,
                "running": 0,
                "waiting": 0,
                "jobs": 0,
                "tokens_per_second": 0,
            }
        ]
        with client.stream("POST", "/v1/chat/completions", json=asked("!forever", stream=True)) as answer:
            lines = answer.iter_lines()
            next(lines)
            busy = until(client, lambda found: found["models"][0]["tokens_per_second"] > 0.2)
            assert (busy["models"][0]["running"], busy["models"][0]["waiting"]) == (1, 0)
        until(client, lambda found: found["models"][0]["running"] == 0)
        slow = threading.Thread(target=client.post, args=("/v1/chat/completions",), kwargs={"json": asked("!slow")})
        slow.start()
        until(client, lambda found: found["models"][0]["waiting"] == 1)
        slow.join()
        assert client.get("/api/status").json()["models"][0]["waiting"] == 0


def test_the_status_when_requests_went_wrong_then_alike_errors_are_one_and_nothing_they_said_is_told(
    settings: Settings,
) -> None:
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url) as client:
        for persona in ("my-secret", "my-other-secret"):
            assert client.post("/v1/chat/completions", json=asked("hello", persona=persona)).status_code == 404
        assert client.get("/somewhere/secret").status_code == 404
        failed = client.post("/v1/chat/completions", json=asked("!fail", stream=True))
        status = client.get("/api/status")
        assert "secret" not in status.text
        kinds = [(one["status"], one["code"], one["route"], one["count"]) for one in status.json()["errors"]]
        assert kinds == [
            (500, "engine_failure", "POST /v1/chat/completions", 1),
            (404, "not_found", None, 1),
            (404, "persona_not_found", "POST /v1/chat/completions", 2),
        ]
        last = status.json()["errors"][0]
        assert last["message"] == "The model failed while it made the answer; the server's log says more."
        assert last["request_id"] == failed.headers["x-request-id"]

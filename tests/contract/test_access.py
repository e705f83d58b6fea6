"""Keys, default personas, CORS, request ids and the log."""

import json
import logging
import re
from typing import Any

import httpx
import msgspec
import pytest

from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving, wait_until

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "private words"}]}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("keys", "presented", "v1", "api"),
    [
        ({}, None, 200, 200),
        ({"api_keys": ["k"]}, "k", 200, 200),
        ({"api_keys": ["k"]}, "x", 401, 401),
        ({"api_keys": ["k", "ü"], "admin_key": "a"}, "k", 200, 403),
        ({"api_keys": ["k"], "admin_key": "a"}, "a", 200, 200),
        ({"admin_key": "a"}, None, 200, 401),
        ({"admin_key": "a"}, "a", 200, 200),
    ],
)
def test_keys(settings: Settings, keys: dict[str, Any], presented: str | None, v1: int, api: int) -> None:
    headers = bearer(presented) if presented else {}
    with serving(msgspec.structs.replace(settings, **keys), FakeEngine()) as url:
        assert httpx.get(url + "/v1/models", headers=headers).status_code == v1
        assert httpx.post(url + "/v1/chat/completions", json=CHAT, headers=headers).status_code == v1
        assert httpx.get(url + "/api/models", headers=headers).status_code == api
        assert httpx.get(url + "/health").status_code == httpx.get(url + "/ready").status_code == 200


def test_default_personas_then_the_keys_own_before_the_servers_and_none_turns_both_off(settings: Settings) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious")
    defaults = {"api_keys": ["k", "l"], "key_personas": {"k": "silly@0.5"}, "default_persona": "serious"}
    with serving(msgspec.structs.replace(settings, **defaults), FakeEngine()) as url:

        def said(key: str, **fields: Any) -> str:
            response = httpx.post(url + "/v1/chat/completions", json={**CHAT, **fields}, headers=bearer(key))
            text: str = response.json()["choices"][0]["message"]["content"]
            return text

        assert said("k").startswith("[+0.50]")
        assert said("l").startswith("[-1.00]")
        assert said("k", persona="silly").startswith("[+1.00]")
        assert said("k", persona="none").startswith("You said")


def test_cors_when_not_set_then_no_header(client: httpx.Client) -> None:
    response = client.get("/v1/models", headers={"Origin": "https://chat.example"})
    assert "access-control-allow-origin" not in response.headers


def test_cors_when_set_then_for_that_origin_also_on_errors(settings: Settings) -> None:
    origin = "https://chat.example"
    with serving(msgspec.structs.replace(settings, cors_origins=[origin]), FakeEngine()) as url:
        for path in ("/v1/models", "/nothing"):
            response = httpx.get(url + path, headers={"Origin": origin})
            assert response.headers["access-control-allow-origin"] == origin
            other = httpx.get(url + path, headers={"Origin": "https://evil.example"})
            assert other.headers.get("access-control-allow-origin") != "https://evil.example"
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-persona",
        }
        preflight = httpx.options(url + "/v1/chat/completions", headers=asked)
        assert preflight.status_code == 204 and "x-persona" in preflight.headers["access-control-allow-headers"]


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("x" * 200, False), ("a b;", False)])
def test_request_id_when_sane_then_echoed(client: httpx.Client, given: str, kept: bool) -> None:
    for path in ("/health", "/nothing"):
        answered = client.get(path, headers={"x-request-id": given}).headers["x-request-id"]
        assert (answered == given) == kept
        assert re.fullmatch(r"[\w.:-]{1,128}", answered)


@pytest.mark.parametrize("stream", [False, True])
def test_log_then_one_line_per_request_without_its_content(
    client: httpx.Client, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    with caplog.at_level(logging.INFO, "proxy.requests"):
        body = {**CHAT, "persona": "silly", "coefficient": -0.5, "stream": stream}
        client.post("/v1/chat/completions", json=body, headers={"x-request-id": "me"})
        # A stream's line is written when its last byte has been, so perhaps a moment after the client has read it.
        wait_until(lambda: any(record.name == "proxy.requests" for record in caplog.records))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "proxy.requests"]
    facts = "model=fake persona=silly coefficient=-0.5 method=activation tokens=5"
    assert re.fullmatch(rf"me POST /v1/chat/completions 200 {facts} ms=\d+", line)
    assert "private" not in json.dumps([record.getMessage() for record in caplog.records])


def test_log_when_the_path_holds_a_line_break_then_still_one_line(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "proxy.requests"):
        client.get("/x%0Aforged")
    assert "\n" not in caplog.records[-1].getMessage()

"""What other people's web pages can make a user's browser do: nothing."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.errors import SetupError
from proxy.settings import ModelSettings, Settings
from tests.fakes import FakeEngine, running, serving, settings_in, wait_until

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(settings_in(tmp_path_factory.mktemp("server")), FakeEngine()) as found:
        yield found


def status(url: str, path: str = "/v1/chat/completions", **headers: str) -> int:
    return httpx.post(url + path, json=CHAT, headers=headers).status_code


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "https://[bad"])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/api/models/fake/unload", "/api/traits", "/api/steering/test"]
)
def test_call_when_a_foreign_page_sends_it_then_403(origin: str, path: str, url: str) -> None:
    response = httpx.post(url + path, json=CHAT, headers={"origin": origin})
    assert response.status_code == 403
    assert "cors_origins" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:9", "http://[::1]:80", "http://127.1.2.3"]
)
def test_call_when_a_page_of_this_machine_sends_it_then_answered(origin: str, url: str) -> None:
    assert status(url, origin=origin) == 200


@pytest.mark.parametrize(
    ("host", "expected"), [("evil.example", 403), ("localhost:1", 200), ("proxy", 200), ("10.0.0.1", 200)]
)
def test_call_when_it_comes_by_a_name_then_only_names_that_can_mean_this_server_are_answered(
    host: str, expected: int, url: str
) -> None:
    assert status(url, host=host) == expected
    assert httpx.get(url + "/api/models", headers={"host": host}).status_code == expected


def test_page_when_its_name_was_made_to_point_here_then_403_though_origin_and_host_agree(settings: Settings) -> None:
    everywhere = msgspec.structs.replace(settings, host="0.0.0.0")
    with serving(everywhere, FakeEngine()) as url:
        assert status(url, host="evil.example", origin="http://evil.example") == 403
        assert status(url, host="chat.example") == 200  # no page sent it


@pytest.mark.parametrize("origins", [["https://chat.example"], ["*"]])
def test_page_when_the_operator_allows_its_origin_then_answered(origins: list[str], settings: Settings) -> None:
    with serving(msgspec.structs.replace(settings, cors_origins=origins), FakeEngine()) as url:
        assert status(url, origin="https://chat.example") == 200
        assert status(url, host="chat.example") == 200


def test_page_when_it_has_a_key_then_answered(settings: Settings) -> None:
    with serving(msgspec.structs.replace(settings, api_keys=["k"]), FakeEngine()) as url:
        assert status(url, origin="https://chat.example", authorization="Bearer k") == 200
        assert status(url, origin="https://chat.example") == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "origin": "http://localhost"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 200),  # what curl -d says
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({}, 200),
    ],
)
def test_json_when_it_says_it_is_something_else_then_415(headers: dict[str, str], expected: int, url: str) -> None:
    response = httpx.post(url + "/v1/chat/completions", content=msgspec.json.encode(CHAT), headers=headers)
    assert response.status_code == expected


def test_strangers_when_a_model_failed_then_are_not_told_why(settings: Settings) -> None:
    def load(model: ModelSettings, max_batch: int) -> FakeEngine:
        raise SetupError("/home/somebody/secret: there is no such folder")

    keyed = msgspec.structs.replace(settings, api_keys=["k"], admin_key="a")
    registry = Registry([ModelSettings("broken", "a/b")], keyed.max_batch, load=load)
    registry.start(lambda state: None)
    with running(create_app(keyed, registry)) as url:
        wait_until(lambda: httpx.get(url + "/ready").is_success)
        assert "secret" not in httpx.get(url + "/ready").text
        body = {**CHAT, "model": "broken"}
        answer = httpx.post(url + "/v1/chat/completions", json=body, headers={"authorization": "Bearer k"})
        assert answer.status_code == 503 and "secret" not in answer.text and "/api/models/broken" in answer.text
        for path in ("/ready", "/api/models/broken"):
            assert "secret" in httpx.get(url + path, headers={"authorization": "Bearer a"}).text
    registry.close()


def bearer(key: bytes) -> dict[Any, Any]:
    return {b"authorization": b"Bearer " + key}


def test_key_when_it_has_letters_beyond_ascii_then_either_encoding_is_it(settings: Settings) -> None:
    with serving(msgspec.structs.replace(settings, api_keys=["grün"]), FakeEngine()) as url:
        for key in ("grün".encode(), "grün".encode("latin-1")):
            assert httpx.get(url + "/v1/models", headers=bearer(key)).status_code == 200
        assert httpx.get(url + "/v1/models", headers=bearer(b"gr")).status_code == 401


def test_error_when_a_name_is_megabytes_long_then_it_is_not_echoed_whole(url: str) -> None:
    response = httpx.post(url + "/v1/chat/completions", json={**CHAT, "persona": "x" * 1_000_000})
    assert response.status_code == 404 and len(response.content) < 10_000
    assert "possible:" in response.json()["error"]["message"]


@pytest.mark.parametrize("value", ['" - at `$x"', " - at `key` in `$.persona`", " - at `$", "`", "\x00 - at `$.a[0]`"])
def test_wrong_value_when_it_looks_like_the_decoders_own_words_then_400_names_the_field(value: str, url: str) -> None:
    response = httpx.post(url + "/v1/chat/completions", json={**CHAT, "reasoning_effort": value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "reasoning_effort"

"""What any web client may expect of the wire, whatever is asked: base URLs, packed bodies, pings, names of models."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import openai
import pytest

from proxy.routes import answering
from proxy.settings import Settings
from tests.fakes import FINGERPRINT, FakeEngine, save_vector, serving

CHATS = "/v1/chat/completions"
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
BODY = json.dumps(CHAT).encode()
PACKED = gzip.compress(BODY)


def packed(client: httpx.Client, body: bytes, encoding: str = "gzip") -> httpx.Response:
    return client.post(CHATS, content=body, headers={"content-type": "application/json", "content-encoding": encoding})


def test_base_url_when_it_lacks_the_v1_then_everything_works(client: httpx.Client) -> None:
    with openai.OpenAI(base_url=str(client.base_url), api_key="none", max_retries=0) as sdk:
        answer = sdk.chat.completions.create(model="fake", messages=[{"role": "user", "content": "hello"}])
        assert answer.choices[0].message.content == "You said: hello "
        assert sdk.completions.create(model="fake", prompt="hello").choices[0].text == "You said: hello "
        assert sdk.responses.create(model="fake", input="hello").output_text == "You said: hello "
        assert "fake:silly" in [model.id for model in sdk.models.list()]
        assert sdk.models.retrieve("fake").id == "fake"
    assert "/chat/completions" not in client.get("/schema/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
def test_embeddings_then_refused_with_what_to_do_instead(client: httpx.Client, path: str) -> None:
    sdk = openai.OpenAI(base_url=f"{client.base_url}{path.removesuffix('/embeddings')}", api_key="none")
    with sdk, pytest.raises(openai.NotFoundError, match="a model that is made for embeddings") as caught:
        sdk.embeddings.create(model="fake", input="hello")
    assert caught.value.code == "no_embeddings"
    assert client.post(path, content=b"[").status_code == 404


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_body_when_it_is_gzip_then_unpacked(client: httpx.Client, encoding: str) -> None:
    assert packed(client, PACKED, encoding).json()["choices"]
    assert packed(client, BODY, "identity").json()["choices"]
    # Longer than what is unpacked at a time, and sent in pieces.
    long = gzip.compress(json.dumps({**CHAT, "user": "x" * 600_000}).encode())
    pieces: Any = (long[start : start + 100] for start in range(0, len(long), 100))
    assert packed(client, pieces).json()["choices"]


@pytest.mark.parametrize(
    "body",
    [b"", BODY, PACKED[:-9], PACKED[:5], PACKED + b"x", b"\x1f\x8b"],
    ids=["empty", "plain", "cut short", "its head", "with more", "a beginning"],
)
def test_body_when_it_is_no_whole_gzip_then_400(client: httpx.Client, body: bytes) -> None:
    response = packed(client, body)
    assert response.status_code == 400 and response.json()["error"]["code"] in ("invalid_body", "invalid_json")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_body_when_it_is_packed_otherwise_then_415(client: httpx.Client, encoding: str) -> None:
    response = packed(client, zlib.compress(BODY), encoding)
    assert response.status_code == 415 and "possible: gzip" in response.json()["error"]["message"]


@pytest.fixture
def narrow(settings: Settings) -> Iterator[httpx.Client]:
    """Of a server that takes small bodies, at two origins."""
    limited = msgspec.structs.replace(settings, max_body_bytes=10_000, cors_origins=["https://chat.example"])
    engines = [FakeEngine(token_s=0.02), FakeEngine("org/other:7b", fingerprint=FINGERPRINT)]
    save_vector(settings.vectors_dir, "silly", "silly", "serious")
    with serving(limited, *engines) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_body_when_it_grows_beyond_the_limit_then_413_before_it_is_unpacked(narrow: httpx.Client) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    body = b"".join(bomb.compress(b" " * 2**20) for _ in range(200)) + bomb.flush()  # 200 MiB
    response = packed(narrow, body[:9000])
    assert response.status_code == 413 and response.json()["error"]["code"] == "body_too_large"


def test_headers_of_ours_then_pages_of_other_origins_may_read_them(narrow: httpx.Client) -> None:
    answer = narrow.post(CHATS, json=CHAT, headers={"origin": "https://chat.example"})
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"retry-after", "x-max-tokens", "x-persona-method", "x-request-id", "x-should-retry"}


def test_model_when_it_has_another_id_with_a_slash_then_its_vectors_are_those_of_its_weights(
    narrow: httpx.Client,
) -> None:
    assert narrow.get("/v1/models/org/other:7b:silly").json()["id"] == "org/other:7b:silly"
    assert "org/other:7b:serious" in [card["id"] for card in narrow.get("/v1/models").json()["data"]]
    answer = narrow.post(CHATS, json={**CHAT, "model": "org/other:7b:silly@0.5"}).json()
    assert answer["choices"][0]["message"]["content"] == "[+0.50] You said: hello "


def test_stream_when_its_text_is_held_back_then_pinged_meanwhile(
    narrow: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a call of a function is that is not whole: tokens come, and nothing can be told yet."""
    assert answering.PING_INTERVAL_S <= 10
    monkeypatch.setattr(answering, "PING_INTERVAL_S", 0.1)
    body = {**CHAT, "messages": [{"role": "user", "content": "!held"}], "stream": True}
    lines = narrow.post(CHATS, json=body).text.split("\n")
    at = [number for number, line in enumerate(lines) if line.startswith(": ping")]
    told = next(number for number, line in enumerate(lines) if "at last" in line)
    assert at and at[0] < told

"""GET /v1/models, /v1/models/{id}, /health and /ready."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from proxy.app import create_app
from proxy.engines.base import Engine
from proxy.engines.registry import Registry
from proxy.errors import SetupError
from proxy.settings import ModelSettings, Settings
from tests.fakes import FakeEngine, model_settings, running, save_vector, serving


def test_list_then_models_and_their_ready_personas(client: httpx.Client) -> None:
    answer = client.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [card["id"] for card in answer["data"]] == ["fake", "fake:silly", "fake:serious"]
    assert all(card["object"] == "model" and isinstance(card["created"], int) for card in answer["data"])
    assert all(card["context_length"] == card["max_model_len"] == 500 for card in answer["data"])


@pytest.mark.parametrize("model", ["fake", "fake:silly", "fake:silly@-1.5"])
def test_one_then_its_card(client: httpx.Client, model: str) -> None:
    card = client.get(f"/v1/models/{model}").json()
    assert card["id"] == model and card["context_length"] == card["max_model_len"] == 500


@pytest.mark.parametrize("model", ["other", "fake:honest", "fake:sily", "org/other"])
def test_one_when_unknown_then_404_naming_the_known(client: httpx.Client, model: str) -> None:
    response = client.get(f"/v1/models/{model}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found" and "fake:silly" in response.json()["error"]["message"]


def test_one_when_it_is_known_but_not_served_then_404_with_the_commands_for_it(
    client: httpx.Client,
) -> None:
    body = {"model": "gpt-oss-20b:silly", "messages": [{"role": "user", "content": "x"}]}
    for response in (client.get("/v1/models/gpt-oss-20b"), client.post("/v1/chat/completions", json=body)):
        assert response.status_code == 404
        message = response.json()["error"]["message"]
        assert "persona-proxy pull gpt-oss-20b," in message and "persona-proxy serve --model gpt-oss-20b." in message


def test_one_when_its_id_has_slashes_then_found(settings: Settings) -> None:
    with serving(settings, FakeEngine("org/model:7b")) as url:
        assert httpx.get(url + "/v1/models/org/model:7b").json()["id"] == "org/model:7b"
        assert httpx.get(url + "/v1/models/org%2Fmodel:7b").json()["id"] == "org/model:7b"


def test_vector_of_other_weights_then_not_listed_and_400(settings: Settings) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", fingerprint="0" * 64)
    with serving(settings, FakeEngine()) as url:
        assert len(httpx.get(url + "/v1/models").json()["data"]) == 1
        assert not httpx.get(url + "/api/vectors").json()["data"][0]["usable"]
        body = {"model": "fake:silly", "messages": [{"role": "user", "content": "x"}]}
        response = httpx.post(url + "/v1/chat/completions", json=body)
    assert response.status_code == 400 and response.json()["error"]["code"] == "vector_unavailable"
    assert "other weights" in response.json()["error"]["message"]


def test_health(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}


@pytest.fixture
def loading(settings: Settings) -> Iterator[tuple[str, threading.Event, Registry]]:
    """A server whose first model loads until the event is set, and whose second then fails."""
    go = threading.Event()

    def load(model: ModelSettings, max_batch: int) -> Engine:
        go.wait(60)
        if model.id == "broken":
            raise SetupError("no such folder")
        return FakeEngine(model.id)

    registry = Registry(model_settings("fake", "broken"), load=load)
    registry.start()
    with running(create_app(settings, registry)) as url:
        yield url, go, registry
    registry.close()


def test_ready_when_loading_then_503_with_states_until_all_are_loaded_or_failed(
    loading: tuple[str, threading.Event, Registry],
) -> None:
    url, go, registry = loading
    early = httpx.get(url + "/ready")
    assert early.status_code == 503 and early.json()["error"]["code"] == "model_unavailable"
    assert [model["status"] for model in early.json()["models"]] == ["loading", "loading"]
    chat = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
    refused = httpx.post(url + "/v1/chat/completions", json=chat)
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
    assert httpx.get(url + "/v1/models").status_code == 200
    go.set()
    assert registry.wait(60)
    late = httpx.get(url + "/ready")
    assert late.status_code == 200 and late.json()["status"] == "ready"
    assert late.json()["models"][1] == {"id": "broken", "status": "failed", "error": "no such folder"}
    assert [card["id"] for card in httpx.get(url + "/v1/models").json()["data"]] == ["fake"]


def test_chat_when_the_model_failed_to_load_then_503_that_is_not_retried(
    loading: tuple[str, threading.Event, Registry],
) -> None:
    url, go, registry = loading
    go.set()
    assert registry.wait(60)
    chat = {"model": "broken", "messages": [{"role": "user", "content": "x"}]}
    refused = httpx.post(url + "/v1/chat/completions", json=chat)
    assert refused.status_code == 503 and refused.headers["x-should-retry"] == "false"
    assert "no such folder" in refused.json()["error"]["message"]

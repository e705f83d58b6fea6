"""Models on demand and by hand: /api/models/{id}, its /load and /unload, and chats that wait for a model."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from proxy.app import create_app
from proxy.engines.base import Engine
from proxy.engines.registry import Registry
from proxy.errors import SetupError
from proxy.services import Services
from proxy.settings import ModelSettings, Settings
from proxy.steering.traits import trait as traits_module
from proxy.steering.traits.trait import Traits, load_traits
from tests.fakes import FakeEngine, fingerprint_of, running, save_vector, wait_until

BIG = "org/big"


@dataclass
class Served:
    """A server with "fake", which loads at the start, and BIG and "broken" on demand, which load once `go` is set."""

    client: httpx.Client
    services: Services
    go: threading.Event
    engines: list[FakeEngine] = field(default_factory=list)

    def status(self, model: str = BIG) -> str:
        status: str = self.client.get(f"/api/models/{model}").json()["status"]
        return status

    def chat(self, model: str = BIG, said: str = "x", **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": said}], **fields}
        return self.client.post("/v1/chat/completions", json=body)


@contextmanager
def serving_on_demand(settings: Settings, unload_after_s: float | None = None) -> Iterator[Served]:
    go = threading.Event()
    engines: list[FakeEngine] = []

    def load(model: ModelSettings, max_batch: int) -> Engine:
        assert model.load == "start" or go.wait(60)
        if model.id == "broken":
            raise SetupError("its weights are missing")
        engines.append(FakeEngine(model.id, token_s=0.005))
        return engines[-1]

    models = [
        ModelSettings("fake", "a/b"),
        ModelSettings(BIG, "a/b", load="demand", unload_after_s=unload_after_s),
        ModelSettings("broken", "a/b", load="demand"),
    ]
    registry = Registry(models, load=load)
    registry.start()
    assert registry.wait(60)
    app = create_app(msgspec.structs.replace(settings, models=models), registry)
    try:
        with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield Served(client, app.state.services, go, engines)
            go.set()
    finally:
        go.set()
        registry.close()


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving_on_demand(settings) as served:
        yield served


def test_chat_when_the_model_is_not_loaded_then_it_waits_for_it_and_nothing_else_does(served: Served) -> None:
    assert served.status() == "unloaded"
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(served.chat, BIG, stream=stream) for stream in (False, True)]
        wait_until(lambda: served.services.scheduler.taken(BIG) == 2)
        assert served.status() == "loading"
        assert served.client.get("/ready").status_code == served.client.get("/health").status_code == 200
        assert BIG in [card["id"] for card in served.client.get("/v1/models").json()["data"]]
        assert served.chat("fake").status_code == 200
        assert not any(answer.done() for answer in waiting)
        served.go.set()
        whole, stream = (answer.result() for answer in waiting)
    assert whole.json()["choices"][0]["message"]["content"] == "You said: x "
    assert stream.text.endswith("data: [DONE]\n\n") and '"finish_reason":"stop"' in stream.text
    assert served.services.scheduler.taken(BIG) == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/steering/test"])
@pytest.mark.parametrize("steering", [{"method": "prompt"}, {"projection": ["happy"]}])
def test_a_trait_when_it_is_deleted_while_its_request_waits_for_the_model_then_no_server_error(
    served: Served, settings: Settings, path: str, steering: dict[str, Any]
) -> None:
    served.services.own_traits.add(
        msgspec.structs.replace(load_traits()["silly"], id="mood", positive="happy", negative="glum")
    )
    said = {"messages": [{"role": "user", "content": "x"}], "persona": "happy", "steering": steering}
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(served.client.post, path, json={"model": BIG, **said})
        wait_until(lambda: served.services.scheduler.taken(BIG) > 0)
        assert served.client.delete("/api/traits/mood").status_code == 200
        served.go.set()
        answer = waiting.result()
    if steering == {"method": "prompt"}:
        assert answer.status_code == 200, answer.text
        assert answer.json().get("persona") == "happy" or answer.json()["steering"]["personas"] == {"happy": 1.0}
    else:
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "vector_unavailable", answer.text
    later = served.client.post(path, json={"model": BIG, **said})
    assert later.status_code == 404 and later.json()["error"]["code"] == "persona_not_found"


def test_the_files_of_traits_when_a_request_comes_then_are_not_read_on_the_event_loop(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, on_loop = Traits._look, list[bool]()

    def watched(traits: Traits) -> Any:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            on_loop.append(True)
        on_loop.append(False)
        return look(traits)

    monkeypatch.setattr(traits_module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(Traits, "_look", watched)
    assert served.chat("fake", persona="none").status_code == 200
    body = {"model": "fake", "prompt": "x", "persona": "silly", "steering": {"method": "prompt"}}
    assert served.client.post("/api/steering/test", json=body).status_code == 200
    assert served.client.get("/api/monitor", params={"persona": "silly"}).status_code == 200
    assert len(on_loop) >= 3 and not any(on_loop)


def test_chat_when_loading_fails_then_503_with_the_reason_and_load_tries_again(served: Served) -> None:
    served.go.set()
    for _ in range(2):
        refused = served.chat("broken")
        assert refused.status_code == 503 and refused.headers["x-should-retry"] == "false"
        assert "its weights are missing" in refused.json()["error"]["message"]
    refused = served.client.post("/api/models/broken/load")
    assert refused.status_code == 503 and "its weights are missing" in refused.json()["error"]["message"]
    details = served.client.get("/api/models/broken").json()
    assert details["status"] == "failed" and details["error"] == "its weights are missing"
    assert "broken" not in [card["id"] for card in served.client.get("/v1/models").json()["data"]]


def test_chat_when_too_many_wait_for_a_model_then_429(settings: Settings) -> None:
    small = msgspec.structs.replace(settings, max_batch=1, max_queue=1)
    with serving_on_demand(small) as served, ThreadPoolExecutor() as threads:
        waiting = [threads.submit(served.chat) for _ in range(2)]
        wait_until(lambda: served.services.scheduler.taken(BIG) == 2)
        assert served.chat().status_code == 429
        served.go.set()
        assert [answer.result().status_code for answer in waiting] == [200, 200]


def test_chat_when_the_client_goes_while_the_model_loads_then_it_waits_no_longer(served: Served) -> None:
    for path, body in (
        ("/v1/chat/completions", {"model": BIG, "messages": [{"role": "user", "content": "x"}]}),
        ("/api/steering/test", {"model": BIG, "prompt": "x", "persona": "silly"}),
    ):
        with pytest.raises(httpx.ReadTimeout):
            served.client.post(path, json=body, timeout=0.3)
        wait_until(lambda: served.services.scheduler.taken(BIG) == 0)
    assert served.status() == "loading"
    served.go.set()
    wait_until(lambda: served.status() == "ready")
    assert served.client.post(f"/api/models/{BIG}/unload").status_code == 200  # nobody holds it any more


def test_chat_when_it_is_wrong_then_nothing_is_loaded_for_it(served: Served) -> None:
    assert served.chat(persona="sily").status_code == 404
    assert served.chat(n=1000).status_code == 400
    assert served.chat(f"{BIG}/other").status_code == 404
    assert served.status() == "unloaded"


def test_load_then_it_is_ready_or_202_without_waiting(served: Served) -> None:
    path = f"/api/models/{BIG}/load"
    begun = served.client.post(path, json={"wait": False})
    assert (begun.status_code, begun.json()["status"]) == (202, "loading")
    assert "n_layers" not in begun.json() and begun.json()["on_demand"] is True
    served.go.set()
    for body in (None, {}, {"wait": True}, {"wait": False}):
        answer = served.client.post(path, json=body) if body is not None else served.client.post(path)
        assert (answer.status_code, answer.json()["status"], answer.json()["n_layers"]) == (200, "ready", 4)
    assert len(served.engines) == 2


def test_unload_when_answers_are_under_way_then_409_and_force_ends_them(served: Served) -> None:
    served.go.set()
    path = f"/api/models/{BIG}/unload"
    body = {"model": BIG, "stream": True, "messages": [{"role": "user", "content": "!forever"}]}
    with served.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        for refusal in (served.client.post(path), served.client.post(path, json={"force": False})):
            error = refusal.json()["error"]
            assert (refusal.status_code, error["code"]) == (409, "model_busy")
            assert "1 request or job is under way" in error["message"] and "force" in error["message"]
        ended = served.client.post(path, json={"force": True})
        assert (ended.status_code, ended.json()["status"]) == (200, "unloaded")
        assert ended.json()["n_layers"] == 4  # what was found when it was loaded
        rest = "\n".join(lines)
    assert "the model was shut down" in rest and rest.strip().endswith("data: [DONE]")
    assert served.client.post(path).json()["status"] == "unloaded"
    assert served.chat().status_code == 200 and len(served.engines) == 3


def test_unload_when_the_model_is_not_on_demand_then_503_names_what_brings_it_back(served: Served) -> None:
    assert served.client.post("/api/models/fake/unload").status_code == 200
    refused = served.chat("fake")
    assert refused.status_code == 503 and "POST /api/models/fake/load" in refused.json()["error"]["message"]
    assert "fake" not in [card["id"] for card in served.client.get("/v1/models").json()["data"]]
    ready = served.client.get("/ready")
    assert ready.status_code == 200 and ready.json()["models"][0]["status"] == "unloaded"
    assert served.client.post("/api/models/fake/load").status_code == 200
    assert served.chat("fake").status_code == 200


def test_idle_when_answers_outlast_the_time_then_they_end_and_only_then_it_goes(settings: Settings) -> None:
    with serving_on_demand(settings, unload_after_s=0.1) as served:
        served.go.set()
        answer = served.chat(said=" ".join(["word"] * 60))
        assert answer.json()["usage"]["completion_tokens"] == 62
        wait_until(lambda: served.status() == "unloaded")
        assert served.chat().status_code == 200
        assert len(served.engines) == 3


@pytest.mark.parametrize("fingerprint", [fingerprint_of(BIG), "0" * 64])
def test_personas_when_the_model_was_never_loaded_then_by_its_id_until_its_weights_are_known(
    settings: Settings, fingerprint: str
) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", model=BIG, fingerprint=fingerprint)
    its_own = fingerprint != "0" * 64
    with serving_on_demand(settings) as served:

        def listed() -> bool:
            return f"{BIG}:silly" in [card["id"] for card in served.client.get("/v1/models").json()["data"]]

        def usable() -> bool | None:
            (vector,) = (each for each in served.client.get("/api/vectors").json()["data"] if each["model"] == BIG)
            answer: bool | None = vector["usable"]
            return answer

        assert listed() and usable() is None
        assert served.client.get(f"/v1/models/{BIG}:silly@0.5").status_code == 200
        served.go.set()
        answer = served.chat(f"{BIG}:silly")
        assert answer.status_code == (200 if its_own else 400)
        served.client.post(f"/api/models/{BIG}/unload")
        assert served.status() == "unloaded" and listed() == usable() == its_own

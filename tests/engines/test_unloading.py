"""What unloading is for: a model that was used in every way there is leaves nothing of its weights behind."""

import threading
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.engines.transformers import loading
from proxy.settings import ModelSettings, Settings, demo_models
from tests.fakes import running, wait_until

ASK = [{"role": "user", "content": "What is the capital of France?"}]
MORE_MB = 256


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list["weakref.ref[torch.Tensor]"]:
    """A weak reference to some weights of every network loaded, which are made larger by `MORE_MB`."""
    seen: list[weakref.ref[torch.Tensor]] = []
    load_network = loading.load_network

    def load(*args: Any) -> Any:
        network = load_network(*args)
        ballast = torch.nn.Parameter(torch.ones(MORE_MB * 2**18), requires_grad=False)
        network.register_parameter("ballast", ballast)
        embeddings = network.get_input_embeddings()
        assert isinstance(embeddings, torch.nn.Embedding)
        seen.extend([weakref.ref(ballast), weakref.ref(embeddings.weight)])
        return network

    monkeypatch.setattr(loading, "load_network", load)
    return seen


def resident_mb() -> float:
    megabytes: float = psutil.Process().memory_info().rss / 2**20
    return megabytes


@pytest.mark.parametrize("by_hand", [True, False])
def test_unload_when_a_model_answered_steered_and_not_then_its_memory_is_back(
    loaded: list["weakref.ref[torch.Tensor]"], tmp_path: Path, by_hand: bool
) -> None:
    unload_after_s = None if by_hand else 0.5
    others = set(threading.enumerate())  # of engines that the rest of the tests share
    model = demo_models()[0]
    models = [ModelSettings(model.id, model.source, load="demand", unload_after_s=unload_after_s)]
    settings = Settings(models=models, vectors_dir=str(tmp_path), traits_dir=tmp_path, jobs_dir=tmp_path)
    registry = Registry(models)
    registry.start()
    with (
        closing(registry),
        running(create_app(settings, registry)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        asked: list[dict[str, Any]] = [{}, {"persona": "silly", "stream": True}, {"persona": "silly", "n": 2}]
        for fields in (*asked, {"messages": []}):
            client.post("/v1/chat/completions", json={"messages": ASK, "max_tokens": 8, **fields})
        client.post("/api/steering/test", json={"prompt": "Hi", "persona": "serious", "max_tokens": 4})
        assert loaded and all(reference() is not None for reference in loaded[-2:])
        before_mb = resident_mb()
        if by_hand:
            assert client.post(f"/api/models/{model.id}/unload").json()["status"] == "unloaded"
        wait_until(lambda: client.get(f"/api/models/{model.id}").json()["status"] == "unloaded", 30)
        wait_until(lambda: f"model {model.id}" not in [each.name for each in set(threading.enumerate()) - others])
        wait_until(lambda: all(reference() is None for reference in loaded))
        assert resident_mb() < before_mb - 0.9 * MORE_MB
        answer = client.post("/v1/chat/completions", json={"messages": ASK, "persona": "silly", "max_tokens": 4})
        assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] > 0

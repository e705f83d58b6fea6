"""Transfers over HTTP: fitted as a job between two served models, listed, and refused where they can't be."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from tests.fakes import running, wait_until
from tests.steering.transfer.pretend_pair import PairedEngine, letter_model, word_model

REQUEST = {"source": "words", "target": "letters", "documents": 100}


@pytest.fixture
def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr("proxy.jobs.queue.TOLD_EVERY_S", 0.02)
    engines: dict[str, PairedEngine] = {engine.id: engine for engine in (word_model(), letter_model())}
    engines["small"] = word_model(world="demo")
    registry = Registry([ModelSettings(id_, "a/b") for id_ in engines], load=lambda model, most: engines[model.id])
    registry.start()
    assert registry.wait(10)
    with running(create_app(settings, registry)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client
    registry.close()


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    def job() -> dict[str, Any]:
        details: dict[str, Any] = client.get(f"/api/jobs/{job_id}").json()
        return details

    wait_until(lambda: job()["ended"] is not None, 60)
    return job()


def test_fit_then_202_with_a_job_of_the_target_and_the_transfer_is_listed(client: httpx.Client) -> None:
    assert client.get("/api/transfers").json() == {"data": []}
    begun = client.post("/api/transfers", json=REQUEST)
    assert begun.status_code == 202 and begun.headers["location"] == f"/api/jobs/{begun.json()['id']}"
    job = ended(client, begun.json()["id"])
    assert (job["kind"], job["model"], job["status"], job["error"]) == ("transfer", "letters", "done", None)
    assert job["parameters"]["source"] == "words"
    (transfer,) = client.get("/api/transfers").json()["data"]
    assert transfer["id"] == job["result"]["transfer"] and transfer["n_documents"] > 90
    assert (transfer["source"]["id"], transfer["target"]["id"]) == ("words", "letters")
    assert transfer["source"]["fits"] and transfer["target"]["fits"]
    best = max(transfer["maps"], key=lambda map_: map_["r2"])
    assert (best["source_block"], best["target_block"]) == (1, 2) and best["r2"] > 0.8 > best["r2_shuffled"]


def test_fit_when_asked_to_wait_then_the_transfer_is_the_answer(client: httpx.Client) -> None:
    answer = client.post("/api/transfers", json=REQUEST | {"wait": True, "blocks": [2]})
    assert answer.status_code == 200 and client.get("/api/transfers").json()["data"] == [answer.json()]
    assert {map_["target_block"] for map_ in answer.json()["maps"]} == {2}


def test_fit_when_the_models_share_no_language_then_the_job_says_so(client: httpx.Client) -> None:
    begun = client.post("/api/transfers", json=REQUEST | {"source": "small"})
    job = ended(client, begun.json()["id"])
    assert job["status"] == "failed" and "share no language" in job["error"]
    assert client.get("/api/transfers").json() == {"data": []}


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"target": "words"}, 400, "target"),
        ({"target": "nobody"}, 404, "target"),
        ({"source": "nobody"}, 404, "source"),
        ({"source": "words:silly"}, 400, "source"),
        ({"blocks": [0, 3]}, 400, "blocks"),
        ({"blocks": [-1]}, 400, "blocks"),
        ({"documents": 0}, 400, "documents"),
        ({"text": "/etc/passwd"}, 400, "text"),
        ({"taget": "letters"}, 400, "taget"),
    ],
)
def test_fit_when_a_field_is_wrong_then_the_error_names_it(
    client: httpx.Client, change: dict[str, Any], status: int, param: str
) -> None:
    response = client.post("/api/transfers", json=REQUEST | change)
    assert response.status_code == status and param in str(response.json()["error"]["param"])

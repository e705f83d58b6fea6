"""Transfers over HTTP: fitted, applied and evaluated as jobs, listed, and refused where they can't be."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.app import create_app
from proxy.cli import main as cli
from proxy.engines.base import Event, Generation, Run
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from proxy.steering import gain, placement
from tests.contract.test_errors import check_shape
from tests.fakes import running, settings_in, wait_until
from tests.steering.pretend import PretendEngine, PretendJudge
from tests.steering.transfer.planted import TRAITS, planted_store, planted_transfer
from tests.steering.transfer.pretend_pair import PairedEngine, letter_model, word_model
from vector_store import VectorStore

REQUEST = {"source": "words", "target": "letters", "documents": 100}


@pytest.fixture
def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr("proxy.jobs.queue.TOLD_EVERY_S", 0.02)
    with serving_pair(settings) as client:
        yield client


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One server for all the tests in which nothing is fitted."""
    with serving_pair(settings_in(tmp_path_factory.mktemp("idle"))) as client:
        yield client


@contextmanager
def serving_pair(settings: Settings) -> Iterator[httpx.Client]:
    engines: dict[str, PairedEngine] = {engine.id: engine for engine in (word_model(), letter_model())}
    engines["small"] = word_model(world="demo")
    registry = Registry([ModelSettings(id_, "a/b") for id_ in engines], load=lambda model, most: engines[model.id])
    registry.start()
    assert registry.wait(60)
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
    column = transfer["target_blocks"].index(2)
    quick = [row[column] for row in transfer["screened"][best["span"]]]
    assert max(quick) == quick[1] > 0.5


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
        ({"answer_tokens": 7}, 400, "answer_tokens"),
        ({"text": "/etc/passwd"}, 400, "text"),
        ({"taget": "letters"}, 400, "taget"),
    ],
)
def test_fit_when_a_field_is_wrong_then_the_error_names_it(
    idle: httpx.Client, change: dict[str, Any], status: int, param: str
) -> None:
    response = idle.post("/api/transfers", json=REQUEST | change)
    assert response.status_code == status and param in str(response.json()["error"]["param"])


@pytest.fixture
def target(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """Where only the target of a planted transfer is served, with the vectors of both models."""
    with serving_target(settings, monkeypatch) as client:
        yield client


@pytest.fixture(scope="module")
def idle_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One such server for all the tests in which there is no job."""
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        serving_target(settings_in(tmp_path_factory.mktemp("target")), monkeypatch) as client,
    ):
        yield client


@contextmanager
def serving_target(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr("proxy.jobs.queue.TOLD_EVERY_S", 0.02)
    monkeypatch.setattr("proxy.steering.traits.trait.Traits.current", TRAITS)
    monkeypatch.setattr("proxy.jobs.kinds.vectors.default_kind", lambda info, trait: PretendJudge())
    monkeypatch.setattr("proxy.steering.judge.default_kind", lambda info, trait: PretendJudge())
    monkeypatch.setattr(gain, "DOSES", (0.5, 1.0))
    monkeypatch.setattr(placement, "OTHER_COEFFICIENTS", (0.5, 2.0))
    monkeypatch.setattr(placement, "N_SAMPLES", 2)
    planted_transfer(settings.transfers_dir)
    planted_store(Path(settings.vectors_dir))
    registry = Registry([ModelSettings("org/pretend", "a/b")], load=lambda model, most: PretendEngine())
    registry.start()
    assert registry.wait(60)
    with running(create_app(settings, registry)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client
    registry.close()


MOVE = {"source": "org/source", "target": "org/pretend", "trait": "silly"}
MEASURE = {"source": "org/source", "target": "org/pretend", "traits": ["silly"], "samples": 1}


def test_apply_then_a_job_makes_a_transferred_vector_of_the_target(target: httpx.Client, settings: Settings) -> None:
    begun = target.post("/api/transfers/apply", json=MOVE)
    assert begun.status_code == 202 and begun.headers["location"] == f"/api/jobs/{begun.json()['id']}"
    job = ended(target, begun.json()["id"])
    assert (job["kind"], job["model"], job["status"], job["error"]) == ("transfer-apply", "org/pretend", "done", None)
    header = VectorStore([settings.vectors_dir]).get(job["result"]["vector"])
    assert (header.origin, header.parent) == ("transferred", "silly-source")
    assert header.transfer is not None and header.transfer.id == "transfer-planted"
    wait_until(lambda: not list(settings.parts_dir.iterdir()))


def test_apply_when_asked_to_wait_then_the_vector_is_the_answer(target: httpx.Client) -> None:
    answer = target.post("/api/transfers/apply", json=MOVE | {"wait": True, "transfer": "transfer-planted"})
    assert answer.status_code == 200
    assert (answer.json()["origin"], answer.json()["trait"]) == ("transferred", "silly")


def test_apply_when_the_command_was_broken_off_then_the_job_goes_on_with_its_parts(
    target: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("vectors", "traits", "jobs", "transfers"):
        monkeypatch.setenv(f"PERSONA_PROXY_{name.upper()}_DIR", str(getattr(settings, f"{name}_dir")))
    started: list[int] = []
    begin = PretendEngine.start

    def counted(self: PretendEngine, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        started.append(1)
        if len(started) == 200:
            raise KeyboardInterrupt
        return begin(self, generation, on_event)

    monkeypatch.setattr("proxy.engines.registry.load_engine", lambda settings, max_batch: PretendEngine())
    monkeypatch.setattr(PretendEngine, "start", counted)
    command = ["transfer", "apply", "--source", "org/source", "--target", "org/pretend", "--trait", "silly"]
    assert cli.main(command) == 130
    assert "silly: broken off; the same command goes on from here" in capsys.readouterr().out
    assert len(list(settings.parts_dir.iterdir())) == 1
    assert target.post("/api/transfers/apply", json=MOVE | {"wait": True}).status_code == 200
    n_resumed = len(started) - 200
    assert cli.main([*command, "--fresh"]) == 0
    assert n_resumed <= len(started) - 200 - n_resumed - 100


def test_evaluate_then_the_figures_are_the_answer_and_are_kept_beside_the_transfer(target: httpx.Client) -> None:
    path = "/api/transfers/transfer-planted/evaluations"
    assert target.get(path).json() == {"data": []}
    answer = target.post("/api/transfers/evaluate", json=MEASURE | {"wait": True})
    assert answer.status_code == 200, answer.text
    details = answer.json()
    assert target.get(path).json() == {"data": [details]}
    assert details["object"] == "transfer.evaluation" and isinstance(details["misses"], list)
    assert any("both of two traits are needed" in line for line in details["missing"])
    figures = details["figures"]
    assert (figures["source"], figures["target"], figures["transfer"]) == (
        *("org/source", "org/pretend"),
        "transfer-planted",
    )
    assert [pole["pole"] for pole in figures["poles"]] == ["silly", "serious"]
    (job,) = target.get("/api/jobs").json()["data"]
    assert (job["kind"], job["result"]) == (
        "transfer-evaluate",
        {"transfer": "transfer-planted", "evaluation": details["id"]},
    )
    assert target.get("/api/transfers/nothing/evaluations").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("apply", MOVE | {"source": "org/other"}, 404, "source"),
        ("apply", MOVE | {"target": "org/other"}, 404, "target"),
        ("apply", MOVE | {"target": "org/pretend:silly"}, 400, "target"),
        ("apply", MOVE | {"trait": "sily"}, 404, "trait"),
        ("apply", MOVE | {"transfer": "transfer-x"}, 404, "transfer"),
        ("apply", MOVE | {"judge": "nobody"}, 400, "judge"),
        ("apply", MOVE | {"seed": -1}, 400, "seed"),
        ("apply", MOVE | {"wiat": True}, 400, "wiat"),
        ("evaluate", MEASURE | {"source": "org/other"}, 404, "source"),
        ("evaluate", MEASURE | {"traits": []}, 400, "traits"),
        ("evaluate", MEASURE | {"traits": ["silly", "sily"]}, 404, "traits"),
        ("evaluate", MEASURE | {"samples": 0}, 400, "samples"),
        ("evaluate", MEASURE | {"trait": "silly"}, 400, "trait"),
    ],
)
def test_apply_and_evaluate_when_a_field_is_wrong_then_the_error_names_it_and_there_is_no_job(
    idle_target: httpx.Client, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    error = check_shape(idle_target.post(f"/api/transfers/{path}", json=body), status)
    assert param in str(error["param"]) and idle_target.get("/api/jobs").json() == {"data": [], "has_more": False}


def test_apply_when_the_source_has_no_vector_then_the_error_says_how_to_make_one(
    target: httpx.Client, settings: Settings
) -> None:
    VectorStore([settings.vectors_dir]).delete("org/source", "silly")
    error = check_shape(target.post("/api/transfers/apply", json=MOVE), 404)
    assert error["param"] == "trait" and "org/source has no vector of its own for silly" in error["message"]


def test_evaluate_when_the_target_has_no_vector_of_its_own_then_the_carried_one_is_measured_once_it_is_placed(
    target: httpx.Client, settings: Settings
) -> None:
    VectorStore([settings.vectors_dir]).delete("org/pretend", "silly")
    error = check_shape(target.post("/api/transfers/evaluate", json=MEASURE), 404)
    assert error["param"] == "traits" and "POST /api/transfers/apply carries one over" in error["message"]
    assert target.post("/api/transfers/apply", json=MOVE | {"budget": "quick", "wait": True}).status_code == 200
    answer = target.post("/api/transfers/evaluate", json=MEASURE | {"budget": "quick", "wait": True})
    assert answer.status_code == 200, answer.text
    assert "a vector of the target's own, of silly, serious: so there is no recovery" in answer.json()["missing"]
    assert answer.json()["figures"]["recovery"] is None

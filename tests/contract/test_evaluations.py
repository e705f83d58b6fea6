"""POST /api/vectors/evaluate and what was found: a job like any other, a verdict to read, and a warning in answers."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.settings import Settings
from tests.contract.test_jobs import MODEL, Gated, Served, serving_pretend
from tests.fakes import settings_in
from tests.steering.sweep.swept import PERFECT, placed
from tests.vector_store.test_evaluation import EVALUATION
from vector_store import VectorStore

REQUEST = {"model": MODEL, "trait": "silly", "budget": "quick"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.steering.judge.prepare", lambda *args, **how: PERFECT)
    monkeypatch.setattr("proxy.steering.limited.rollouts", lambda *args, **how: ([], []))


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a vector that was never evaluated, and one of another trait that was found to be worth nothing."""
    settings = settings_in(tmp_path_factory.mktemp("idle"))
    store = VectorStore([settings.vectors_dir])
    store.save(placed(0.6))
    nothing = dataclasses.replace(EVALUATION, verdict="nothing", reason="nothing helps")
    steers = dataclasses.replace(EVALUATION, verdict="steers", reason="all is well")
    found = {"positive": nothing, "negative": steers}
    names = {"trait": "superficial", "positive": "superficial", "negative": "deep", "id": "superficial-placed"}
    store.save(dataclasses.replace(placed(0.6), **names, evaluations=found))  # type: ignore[arg-type]
    with serving_pretend(settings, Gated()) as served:
        served.engine.go.set()
        yield served


def evaluate(served: Served, **fields: Any) -> httpx.Response:
    return served.client.post("/api/vectors/evaluate", json={**REQUEST, **fields})


def test_evaluate_then_a_job_makes_a_version_with_verdicts(settings: Settings) -> None:
    VectorStore([settings.vectors_dir]).save(placed(0.6))
    with serving_pretend(settings, Gated()) as served:
        served.engine.go.set()
        begun = evaluate(served)
        assert begun.status_code == 202, begun.text
        assert begun.headers["location"] == f"/api/jobs/{begun.json()['id']}"
        assert begun.json()["kind"] == "evaluation" and begun.json()["parameters"]["version"] == "silly-placed"
        made = served.until(begun.json()["id"], "done")["result"]["vector"]
        version = served.client.get(f"/api/vectors/{MODEL}/silly/{made}").json()["data"][0]
        assert version["parent"] == "silly-placed" and version["in_use"]
        assert version["poles"]["positive"]["verdict"] == "steers" and version["poles"]["positive"]["reason"]
        found = served.client.get(f"/api/vectors/{MODEL}/silly/evaluation").json()
        assert (found["id"], found["model"], found["trait"]) == (made, MODEL, "silly")
        assert len(found["evaluations"]["negative"]["answers"]) == 10


def test_evaluation_when_there_is_none_then_404_says_how_to_make_it(idle: Served) -> None:
    answer = idle.client.get(f"/api/vectors/{MODEL}/silly/evaluation")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_evaluated")
    poles = idle.client.get(f"/api/vectors/{MODEL}/silly").json()["data"][0]["poles"]
    assert {pole["verdict"] for pole in poles.values()} == {None}


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"trait": "sily"}, 404, "trait"),
        ({"trait": "dishonest"}, 404, "trait"),
        ({"version": "nope"}, 404, "version"),
        ({"model": "other"}, 404, "model"),
        ({"budget": "lavish"}, 400, "budget"),
        ({"samples": 0}, 400, "samples"),
        ({"seed": -1}, 400, "seed"),
        ({"judge": "me"}, 400, "judge"),
        ({"second_judge": "me"}, 400, "second_judge"),
        ({"judge": "model", "second_judge": "model"}, 400, "second_judge"),
        ({"second": "model"}, 400, "second"),
    ],
)
def test_evaluate_when_wrong_then_the_field_is_named_and_there_is_no_job(
    idle: Served, fields: dict[str, Any], status: int, param: str
) -> None:
    answer = evaluate(idle, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert idle.client.get("/api/jobs").json() == {"data": [], "has_more": False}


def test_compare_then_a_job_finds_what_each_manner_comes_to_and_wait_shows_it(settings: Settings) -> None:
    VectorStore([settings.vectors_dir]).save(placed(0.6))
    with serving_pretend(settings, Gated()) as served:
        served.engine.go.set()
        begun = served.client.post("/api/vectors/compare", json={**REQUEST, "coefficient": 1.5})
        assert begun.status_code == 202 and begun.json()["kind"] == "comparison", begun.text
        found = served.until(begun.json()["id"], "done")["result"]
        shown = served.client.post("/api/vectors/compare", json={**REQUEST, "coefficient": 1.5, "wait": True})
        assert (shown.status_code, shown.json()) == (200, found)
        assert found["judge"] and set(found["poles"]) == {"silly", "serious"}
        own = found["poles"]["silly"][1]
        assert own["name"] == "as the vector does: added to the last prompt token" and own["above_own"] is None
        assert served.client.get(f"/api/vectors/{MODEL}/silly").json()["data"][0]["id"] == "silly-placed"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"coefficient": 0}, 400, "coefficient"),
        ({"coefficient": 2.5}, 400, "coefficient"),
        ({"version": "nope"}, 404, "version"),
        ({"trait": "dishonest"}, 404, "trait"),
        ({"judge": "me"}, 400, "judge"),
    ],
)
def test_compare_when_wrong_then_the_field_is_named(
    idle: Served, fields: dict[str, Any], status: int, param: str
) -> None:
    answer = idle.client.post("/api/vectors/compare", json={**REQUEST, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert idle.client.get("/api/jobs").json() == {"data": [], "has_more": False}


def test_persona_when_its_vector_was_found_to_do_nothing_then_the_answer_and_the_log_warn(
    idle: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def steering(**fields: Any) -> dict[str, Any]:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], **fields}
        found: dict[str, Any] = idle.client.post("/v1/chat/completions", json=chat).json()["steering"]
        return found

    with caplog.at_level(logging.WARNING, "proxy.chat.doubts"):
        for fields in ({"persona": "superficial"}, {"persona": "deep", "coefficient": -1}):
            (line,) = steering(**fields)["warnings"]
            assert line == "superficial in org/pretend: nothing works; nothing helps"
    assert [record.name for record in caplog.records] == ["proxy.chat.doubts"]  # once
    assert "superficial-placed" in caplog.text
    silent: list[dict[str, Any]] = [
        {"persona": "deep"},
        {"persona": "silly"},
        {"persona": "superficial", "steering": {"method": "prompt"}},
        {"persona": "superficial", "steering": {"random_direction": 1}},
        {"persona": "superficial", "coefficient": 0},
    ]
    assert [fields for fields in silent if "warnings" in steering(**fields)] == []

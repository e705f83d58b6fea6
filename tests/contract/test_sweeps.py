"""POST /api/steering/sweep and the curves: a job like any other, and what it measured, to read and to look at."""

import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from proxy.settings import Settings
from tests.contract.test_jobs import MODEL, Gated, Served, serving_pretend
from tests.fakes import settings_in, wait_until
from tests.steering.sweep.swept import PERFECT, placed
from vector_store import VectorStore

REQUEST = {"model": MODEL, "trait": "silly", "coefficients": [-1, 0.5, 1], "samples": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.steering.judge.prepare", lambda *args, **how: PERFECT)
    monkeypatch.setattr("proxy.jobs.queue.TOLD_EVERY_S", 0.02)


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    """With a vector that was placed and never swept."""
    VectorStore([settings.vectors_dir]).save(placed(0.6))
    with serving_pretend(settings, Gated()) as served:
        yield served


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all the tests in which there is no job."""
    settings = settings_in(tmp_path_factory.mktemp("idle"))
    VectorStore([settings.vectors_dir]).save(placed(0.6))
    with serving_pretend(settings, Gated()) as served:
        yield served


def sweep(served: Served, **fields: Any) -> httpx.Response:
    return served.client.post("/api/steering/sweep", json={**REQUEST, **fields})


def test_sweep_then_202_with_a_job_that_makes_a_measured_version(served: Served) -> None:
    begun = sweep(served)
    assert begun.status_code == 202 and begun.headers["location"] == f"/api/jobs/{begun.json()['id']}"
    job = begun.json()
    assert (job["kind"], job["model"], job["status"]) == ("sweep", MODEL, "queued")
    assert job["parameters"] == {
        **{"trait": "silly", "version": "silly-placed", "coefficients": [-1, 0.5, 1], "samples": 1, "seed": 0},
        "judge": None,
        "keep_strength": False,
    }
    served.engine.go.set()
    made = served.until(job["id"], "done")["result"]["vector"]
    version = served.client.get(f"/api/vectors/{MODEL}/silly/{made}").json()["data"][0]
    assert version["parent"] == "silly-placed" and set(version["sweeps"]) == {"positive", "negative"}
    assert version["poles"]["positive"]["measured_range"] == [0.0, version["sweeps"]["positive"]["coherent_to"]]


def test_sweep_when_told_to_wait_then_200_and_requests_are_steered_by_what_was_measured(served: Served) -> None:
    served.engine.go.set()
    vector = sweep(served, wait=True)
    assert vector.status_code == 200, vector.text
    end = vector.json()["poles"]["positive"]["measured_range"][1]
    for coefficient, beyond in ((end, False), (end + 0.01, True)):
        chat = {"model": MODEL, "persona": "silly", "coefficient": coefficient}
        answer = served.client.post(
            "/v1/chat/completions", json={**chat, "messages": [{"role": "user", "content": "x"}]}
        ).json()
        assert answer["steering"]["beyond_measured_range"] is beyond
        assert answer["steering"]["vectors"][0]["id"] == vector.json()["id"]


def test_sweep_when_coefficients_are_left_out_then_the_usual_ones(served: Served) -> None:
    job = served.client.post("/api/steering/sweep", json={"trait": "silly"}).json()
    assert job["parameters"]["coefficients"] == [0.25 * step for step in range(-8, 9)]
    assert job["parameters"]["samples"] == 4 and job["model"] == MODEL


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"trait": "sily"}, 404, "trait"),
        ({"trait": "dishonest"}, 404, "trait"),
        ({"version": "nope"}, 404, "version"),
        ({"model": "other"}, 404, "model"),
        ({"model": f"{MODEL}:silly"}, 400, "model"),
        ({"coefficients": []}, 400, "coefficients"),
        ({"coefficients": [0]}, 400, "coefficients"),
        ({"coefficients": [0.5, 4.5]}, 400, "coefficients[1]"),
        ({"samples": 0}, 400, "samples"),
        ({"seed": -1}, 400, "seed"),
        ({"judge": "me"}, 400, "judge"),
        ({"step": 0.5}, 400, "step"),
    ],
)
def test_sweep_when_wrong_then_the_field_is_named_and_there_is_no_job(
    idle: Served, fields: dict[str, Any], status: int, param: str | None
) -> None:
    answer = sweep(idle, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert idle.client.get("/api/jobs").json() == {"data": [], "has_more": False}


def test_sweep_when_a_poles_name_is_given_then_its_trait_is_named(served: Served) -> None:
    error = sweep(served, trait="serious").json()["error"]
    assert error["message"] == "trait: there is no trait 'serious', it is a pole of 'silly'"
    error = served.client.get(f"/api/vectors/{MODEL}/serious/curve").json()["error"]
    assert error["message"].endswith("no vector of 'serious' for the model 'org/pretend'. It is a pole of 'silly'.")


def test_sweep_when_the_vector_was_never_placed_then_400(settings: Settings) -> None:
    VectorStore([settings.vectors_dir]).save(placed(0.6, ("negative",)))
    with serving_pretend(settings, Gated()) as served:
        answer = sweep(served)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "version")
        assert sweep(served, coefficients=[-1]).status_code == 202


def test_sweep_then_its_progress_is_told_and_it_can_be_cancelled(served: Served) -> None:
    job_id = sweep(served).json()["id"]
    event = next(event for event in served.events(job_id) if event["progress"]["seconds_left"] is not None)
    assert event["progress"]["doing"] == "silly: sweeping" and 0 < event["progress"]["fraction"] < 1
    assert served.client.delete(f"/api/jobs/{job_id}").json()["status"] == "cancelled"
    time.sleep(0.1)
    n_started = len(served.engine.started)
    time.sleep(0.1)
    assert len(served.engine.started) == n_started


def test_sweep_then_each_of_its_points_is_told_once_and_those_there_are_told_to_who_comes_later(served: Served) -> None:
    job_id = sweep(served).json()["id"]
    events = served.events(job_id)
    early: list[Any] = []
    while not early:
        early = next(events)["points"]
    job, later = served.job(job_id), next(served.events(job_id))
    assert job["points"][: len(early)] == later["points"][: len(early)] == early
    served.engine.go.set()
    told = early + [point for event in events for point in event["points"]]
    kinds = ["unsteered", "prompt", "steered", "random"]
    assert sorted((each["side"], each["point"]["kind"], each["point"]["coefficient"]) for each in told) == sorted(
        (side, kind, coefficient)
        for side, coefficients in (("positive", (0.5, 1)), ("negative", (1,)))
        for kind in kinds
        for coefficient in (coefficients if kind in ("steered", "random") else (0,))
    )
    assert served.client.get("/api/jobs").json()["data"][0]["points"] == []


def test_sweep_when_the_server_stops_then_the_next_one_goes_on_where_it_was(settings: Settings) -> None:
    VectorStore([settings.vectors_dir]).save(placed(0.6))
    with serving_pretend(settings, Gated()) as served:
        job_id = sweep(served).json()["id"]
        wait_until(lambda: len(served.engine.started) > 80)
    with serving_pretend(settings, Gated()) as served:
        served.engine.go.set()
        assert served.until(job_id, "done")["result"]
        assert len(served.engine.started) <= 10 * 4 + 10 * 9 - 64


def test_curve_then_as_json_and_as_a_picture(served: Served) -> None:
    for path in ("curve", "curve.svg"):
        missing = served.client.get(f"/api/vectors/{MODEL}/silly/{path}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_swept")
    served.engine.go.set()
    id_ = sweep(served, wait=True).json()["id"]
    for version in ("silly", f"silly/{id_}"):
        curve = served.client.get(f"/api/vectors/{MODEL}/{version}/curve").json()
        assert curve["id"] == id_ and (curve["positive"], curve["negative"]) == ("silly", "serious")
        kinds = {point["kind"] for point in curve["sweeps"]["negative"]["points"]}
        assert kinds == {"unsteered", "steered", "random", "prompt"}
        picture = served.client.get(f"/api/vectors/{MODEL}/{version}/curve.svg")
        assert picture.headers["content-type"].startswith("image/svg+xml")
        assert ElementTree.fromstring(picture.text).tag == "{http://www.w3.org/2000/svg}svg"
    old = served.client.get(f"/api/vectors/{MODEL}/silly/silly-placed/curve")
    assert old.json()["error"]["code"] == "not_swept"

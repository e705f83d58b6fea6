"""POST /api/vectors/generate and /api/jobs: started, watched, waited for, cancelled, and gone on with."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from proxy.app import create_app
from proxy.engines.base import Event, Generation, Run
from proxy.engines.registry import Registry
from proxy.jobs.kinds import vectors
from proxy.settings import ModelSettings, Settings
from proxy.steering import gain, placement
from proxy.steering.seeds import Purpose
from proxy.steering.traits.trait import BUILTIN_FOLDER
from tests.fakes import running, settings_in, wait_until
from tests.steering.pretend import N_LAYERS, PretendEngine, PretendJudge, hidden_direction, made_for

MODEL = "org/pretend"
REQUEST: Mapping[str, Any] = {"model": MODEL, "trait": "silly", "rollouts": 2, "questions": 4}
DETAILS = {
    *("id", "object", "kind", "model", "parameters", "status", "created", "started", "ended"),
    *("progress", "error", "result", "points"),
}


class Gated(PretendEngine):
    """Until `go` is set, each answer takes a while to begin."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.go = threading.Event()

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        self.go.wait(0.02)
        return super().start(generation, on_event)

    def _asked(self, prompt: Any) -> float:
        # The built-in trait's own instructions, for which the pretend model has a word each.
        text = "".join(map(chr, prompt)).partition("\nuser:")[0]
        funny = any(word in text for word in ("silly", "goofy", "clown", "jokes", "giggle", "funny", "nonsense"))
        grave = any(word in text for word in ("serious", "grave", "weight", "never joke", "sober", "dignified"))
        return self.obedience * (grave and -1.0 or float(funny)) if text.startswith("system:") else 0.0


class Served:
    """A server with one pretend model."""

    def __init__(self, client: httpx.Client, engine: Gated) -> None:
        self.client = client
        self.engine = engine

    def generate(self, **fields: Any) -> httpx.Response:
        return self.client.post("/api/vectors/generate", json={**REQUEST, **fields})

    def job(self, job_id: str) -> dict[str, Any]:
        details: dict[str, Any] = self.client.get(f"/api/jobs/{job_id}").json()
        return details

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        with self.client.stream("GET", f"/api/jobs/{job_id}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def until(self, job_id: str, status: str) -> dict[str, Any]:
        wait_until(lambda: self.job(job_id)["status"] == status, 20)
        return self.job(job_id)


@contextmanager
def serving_pretend(settings: Settings, engine: Gated) -> Iterator[Served]:
    registry = Registry([ModelSettings(MODEL, "a/b")], load=lambda model, max_batch: engine)
    registry.start()
    assert registry.wait(60)
    with running(create_app(settings, registry)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield Served(client, engine)
    registry.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "default_kind", lambda info, trait: PretendJudge())
    monkeypatch.setattr("proxy.jobs.queue.TOLD_EVERY_S", 0.02)
    monkeypatch.setattr(gain, "DOSES", (0.5, 1.0))
    monkeypatch.setattr(placement, "OTHER_COEFFICIENTS", (0.5, 2.0))
    monkeypatch.setattr(placement, "N_SAMPLES", 2)


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving_pretend(settings, Gated()) as served:
        yield served


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all the tests in which there is no job."""
    with serving_pretend(settings_in(tmp_path_factory.mktemp("idle")), Gated()) as served:
        yield served


def test_generate_then_202_with_a_job_that_makes_the_vector(served: Served) -> None:
    begun = served.generate()
    assert begun.status_code == 202
    job = begun.json()
    assert set(job) == DETAILS and begun.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["kind"], job["model"], job["status"]) == ("extraction", MODEL, "queued")
    numbers = {"rollouts": 2, "questions": 4, "seed": 0, "budget": "thorough"}
    assert job["parameters"] == {"trait": "silly", "judge": None, **numbers}
    served.engine.go.set()
    done = served.until(job["id"], "done")
    assert done["progress"]["fraction"] == 1.0 and done["error"] is None
    assert done["created"] <= done["started"] <= done["ended"]
    (vector,) = [
        vector
        for vector in served.client.get("/api/vectors").json()["data"]
        if vector["id"] == done["result"]["vector"]
    ]
    assert (vector["model"], vector["trait"], vector["usable"]) == (MODEL, "silly", True)
    (listed,) = served.client.get("/api/jobs", params={"status": "done", "model": MODEL}).json()["data"]
    assert listed == done
    assert served.client.get("/api/jobs", params={"status": "failed"}).json() == {"data": [], "has_more": False}


def test_generate_when_told_to_wait_then_200_with_the_vector(served: Served) -> None:
    served.engine.go.set()
    answer = served.generate(wait=True)
    assert answer.status_code == 200
    vector = answer.json()
    assert (vector["model"], vector["trait"], vector["usable"]) == (MODEL, "silly", True)
    assert set(vector["poles"]) == {"positive", "negative"}
    assert f"{MODEL}:silly" in [card["id"] for card in served.client.get("/v1/models").json()["data"]]


def test_generate_when_given_the_other_names_then_they_mean_the_same(served: Served) -> None:
    names = {"model_id": MODEL, "trait_id": "silly", "seed": 3}
    job = served.client.post("/api/vectors/generate", json=names).json()
    assert job["model"] == MODEL
    assert job["parameters"] == {
        "trait": "silly",
        "rollouts": 10,
        "questions": 20,
        "seed": 3,
        "budget": "thorough",
        "judge": None,
    }
    assert served.client.post("/api/vectors/generate", json={"trait": "silly"}).json()["model"] == MODEL
    assert served.generate(model_id=MODEL, trait_id="silly").status_code == 202


def test_generate_when_a_budget_is_named_then_it_says_the_numbers_itself(served: Served) -> None:
    job = served.client.post("/api/vectors/generate", json={"trait": "silly", "budget": "quick"}).json()
    assert job["parameters"]["budget"] == "quick"
    refused = served.generate(budget="quick", rollouts=3)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "rollouts"
    assert "possible: leave it out, or thorough" in refused.json()["error"]["message"]
    assert served.generate(budget="hasty").status_code == 400


def test_generate_when_a_judge_is_named_then_it_must_be_one_the_operator_allows(served: Served) -> None:
    job = served.generate(judge="likelihood").json()
    assert job["parameters"]["judge"] == "likelihood" and served.generate().json()["id"] != job["id"]
    refused = served.generate(judge="http://elsewhere/v1")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "judge"
    assert f"possible: rules, likelihood, reading, model, {MODEL}" in refused.json()["error"]["message"]


def test_generate_when_the_same_is_under_way_then_it_is_that_job(served: Served) -> None:
    first, again, other = served.generate(), served.generate(), served.generate(seed=1)
    assert again.json()["id"] == first.json()["id"] != other.json()["id"]
    assert [job["status"] for job in served.client.get("/api/jobs").json()["data"]] == ["queued", "running"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"trait": "sily"}, 404, "trait"),
        ({"trait": None}, 400, "trait"),
        ({"trait_id": "dishonest"}, 400, "trait"),
        ({"model": "other"}, 404, "model"),
        ({"model": f"{MODEL}:silly"}, 400, "model"),
        ({"model_id": "other"}, 400, "model"),
        ({"rollouts": 0}, 400, "rollouts"),
        ({"questions": 21}, 400, "questions"),
        ({"seed": -1}, 400, "seed"),
        ({"wait": "yes"}, 400, "wait"),
    ],
)
def test_generate_when_wrong_then_the_field_is_named_and_there_is_no_job(
    idle: Served, fields: dict[str, Any], status: int, param: str
) -> None:
    answer = idle.generate(**fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert idle.client.get("/api/jobs").json() == {"data": [], "has_more": False}


def test_generate_when_the_client_goes_away_then_the_job_goes_on(served: Served) -> None:
    with pytest.raises(httpx.ReadTimeout):
        served.client.post("/api/vectors/generate", json={**REQUEST, "wait": True}, timeout=0.3)
    served.engine.go.set()
    (job,) = served.client.get("/api/jobs").json()["data"]
    assert served.until(job["id"], "done")["result"]


def test_generate_when_the_model_does_not_do_as_told_then_the_job_says_so_and_who_waits_too(settings: Settings) -> None:
    with serving_pretend(settings, Gated(obedience=0.0)) as served:
        served.engine.go.set()
        answer = served.generate(wait=True)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "job_failed")
        assert answer.headers["x-should-retry"] == "false"
        (job,) = served.client.get("/api/jobs", params={"status": "failed"}).json()["data"]
        assert job["error"].startswith(f"too little to make a vector of 'silly' for {MODEL} from")
        assert job["error"] in answer.json()["error"]["message"]


def test_events_then_the_job_as_it_is_then_its_progress_and_its_end(served: Served) -> None:
    job_id = served.generate().json()["id"]
    events = served.events(job_id)
    first = next(events)
    assert first["id"] == job_id and set(first) == DETAILS
    assert first["status"] in ("queued", "running")
    second = next(event for event in events if event["progress"]["seconds_left"] is not None)
    assert second["progress"]["doing"].startswith("silly: answering") and 0 < second["progress"]["fraction"] < 1
    assert second["progress"]["seconds_left"] > 0
    served.engine.go.set()
    rest = list(events)
    fractions = [event["progress"]["fraction"] for event in rest]
    assert fractions == sorted(fractions) and rest[-1]["status"] == "done" and rest[-1]["result"]
    assert list(served.events(job_id)) == rest[-1:]


def test_cancel_then_the_job_ends_and_who_waits_is_told(served: Served) -> None:
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(served.generate, wait=True)
        wait_until(lambda: len(served.client.get("/api/jobs").json()["data"]) == 1)
        (job,) = served.client.get("/api/jobs").json()["data"]
        events = threads.submit(list, served.events(job["id"]))
        wait_until(lambda: len(served.engine.started) > 3)
        cancelled = served.client.delete(f"/api/jobs/{job['id']}")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        answer = waiting.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "job_cancelled")
        assert events.result()[-1]["status"] == "cancelled"
    time.sleep(0.1)
    n_started = len(served.engine.started)
    time.sleep(0.2)
    assert len(served.engine.started) == n_started < 120
    assert served.client.delete(f"/api/jobs/{job['id']}").json() == served.job(job["id"]) == cancelled.json()


def test_server_when_it_stops_then_the_next_one_goes_on_with_the_job_where_it_was(settings: Settings) -> None:
    with serving_pretend(settings, Gated()) as served:
        job_id = served.generate().json()["id"]
        wait_until(lambda: len(served.engine.started) > 160, 20)  # of which 80 are the judge's
    with serving_pretend(settings, Gated()) as served:
        served.engine.go.set()
        done = served.until(job_id, "done")
    answers = [each for each in served.engine.started if made_for(Purpose.EXTRACTING, each)]
    assert len(answers) <= 120 - 64 and done["result"]
    assert list((settings.jobs_dir / "parts").iterdir()) == []


def test_jobs_when_there_is_no_such_job_then_404(idle: Served) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        for job_id in ("job-1", "..%2F..%2Fjobs.sqlite"):
            answer = idle.client.request(method, f"/api/jobs/{job_id}{path}")
            assert answer.status_code == 404, (method, path, job_id)


def test_jobs_when_the_status_is_unknown_then_400_that_says_what_is_possible(idle: Served) -> None:
    answer = idle.client.get("/api/jobs", params={"status": "over"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "status")
    assert "queued, running, done, failed, cancelled" in answer.json()["error"]["message"]


def test_jobs_when_their_folder_can_not_be_used_then_503_in_words_and_chats_go_on(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with serving_pretend(msgspec.structs.replace(settings, jobs_dir=tmp_path / "file" / "jobs"), Gated()) as served:
        answer = served.generate()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "jobs_unavailable")
        assert "can't be used" in answer.json()["error"]["message"]
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
        assert served.client.post("/v1/chat/completions", json=chat).status_code == 200


def test_extraction_then_chats_find_places_beside_it(settings: Settings) -> None:
    """Of four places the job lets its engine take two."""
    with serving_pretend(msgspec.structs.replace(settings, max_batch=4), Gated()) as served:
        served.engine.go.set()
        job_id = served.generate().json()["id"]
        wait_until(lambda: served.job(job_id)["progress"]["fraction"] > 0.1)
        served.client.delete(f"/api/jobs/{job_id}")
        assert {each.together and each.together.most for each in served.engine.started} == {2}


def test_trait_when_its_file_comes_while_the_server_runs_then_it_is_seen(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.steering.traits.trait.LOOK_EVERY_S", 0.0)
    source = (BUILTIN_FOLDER / "silly.toml").read_text()
    with serving_pretend(settings, Gated()) as served:
        assert served.generate(trait="merry").status_code == 404
        settings.traits_dir.mkdir(parents=True)
        merry = source.replace('"silly"', '"merry"').replace('"serious"', '"glum"')
        (settings.traits_dir / "merry.toml").write_text(merry)
        assert served.client.get("/api/traits/merry").json()["negative"] == "glum"
        served.engine.go.set()
        assert served.generate(trait="merry", wait=True).json()["trait"] == "merry"
        chat = {"model": MODEL, "persona": "glum", "messages": [{"role": "user", "content": "x"}]}
        assert served.client.post("/v1/chat/completions", json=chat).json()["steering"]["personas"] == {"glum": 1.0}


def import_direction(served: Served) -> str:
    """An imported vector, of which nothing but its direction is known; its id."""
    rows = {f"layer_{block}": hidden_direction().tolist() for block in range(N_LAYERS)}
    file = {"model_id": MODEL, "trait_id": "silly", "vectors": rows}
    imported = served.client.post(
        "/api/vectors/import", params={"model": MODEL, "trait": "silly"}, content=json.dumps(file).encode()
    )
    assert imported.status_code < 300, imported.text
    return str(imported.json()["id"])


def test_measure_when_a_vector_was_imported_then_a_measured_version_of_it_is_made(served: Served) -> None:
    imported = import_direction(served)
    served.engine.go.set()
    begun = served.client.post("/api/vectors/measure", json={"model": MODEL, "trait": "silly", "version": imported})
    assert begun.status_code == 202 and begun.json()["kind"] == "measuring"
    done = served.until(begun.json()["id"], "done")
    versions = served.client.get(f"/api/vectors/{MODEL}/silly").json()["data"]
    measured = next(version for version in versions if version["id"] == done["result"]["vector"])
    assert measured["origin"] == "imported" and measured["poles"]["positive"]["relative_dose"] > 0
    again = served.client.post("/api/vectors/measure", json={"model": MODEL, "trait": "silly", "wait": True})
    assert again.status_code == 200 and again.json()["origin"] == "imported"


def test_measure_when_there_is_nothing_to_measure_then_it_says_so(served: Served) -> None:
    served.engine.go.set()
    missing = served.client.post("/api/vectors/measure", json={"model": MODEL, "trait": "silly"})
    assert missing.status_code == 404
    assert served.generate(wait=True).status_code == 200
    native = served.client.post("/api/vectors/measure", json={"model": MODEL, "trait": "silly"})
    assert (native.status_code, native.json()["error"]["param"]) == (400, "version")

"""/api/traits: written by hand, by templates, by a model in a job, changed, deleted, and carried as files."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from proxy.steering.traits.trait import load_traits
from tests.contract.test_errors import check_shape
from tests.fakes import FakeEngine, running, save_vector, serving, settings_in, wait_until
from tests.steering.traits.trait_writer import Writer, pairs

MODEL = "org/pretend"
ASKED = {"trait_name": "Grumpy", "positive_trait": "grumpy", "negative_trait": "cheerful"}
WRITTEN: dict[str, Any] = {
    "id": "mood",
    "positive": "grumpy",
    "negative": "cheerful",
    "description": "Sighs against smiles.",
    "instructions": pairs(),
    "questions": {
        "extract": [f"What is {number}?" for number in range(20)],
        "evaluate": [f"Why is {number}?" for number in range(20)],
    },
    "rubric": "Count the sighs.",
}


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    limited = msgspec.structs.replace(settings, max_traits=2)
    with serving(limited, FakeEngine()) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Settings]]:
    """One server for all the tests in which no trait comes to be."""
    settings = settings_in(tmp_path_factory.mktemp("empty"), max_traits=2)
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client, settings


@contextmanager
def serving_writer(settings: Settings, engine: Writer) -> Iterator[httpx.Client]:
    registry = Registry([ModelSettings(MODEL, "a/b")], load=lambda model, max_batch: engine)
    registry.start()
    assert registry.wait(60)
    with running(create_app(settings, registry)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client
    registry.close()


def generate(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/api/traits/generate-custom", json={**ASKED, **fields})


def persona(client: httpx.Client, name: str) -> httpx.Response:
    body = {"persona": name, "messages": [{"role": "user", "content": "x"}]}
    return client.post("/v1/chat/completions", json=body)


def test_create_then_it_is_listed_shown_and_its_personas_are_known_at_once(
    client: httpx.Client, settings: Settings
) -> None:
    created = client.post("/api/traits", json=WRITTEN)
    assert created.status_code == 200, created.text
    trait = created.json()
    more: dict[str, Any] = {"source": "written", "source_model": None, "built_in": False, "models": [], "vectors": []}
    assert trait == {**WRITTEN, "question_sets": {}, "demonstrations": [], **more}
    assert client.get("/api/traits/mood").json() == trait
    summaries = {each["id"]: each for each in client.get("/api/traits").json()["data"]}
    parts = {"instructions", "questions", "rubric", "question_sets", "demonstrations", "vectors"}
    assert set(summaries["mood"]) == set(trait) - parts
    assert summaries["silly"]["built_in"]
    assert persona(client, "grumpy").json()["error"]["code"] == "vector_unavailable"
    assert load_traits(settings.traits_dir)["mood"].rubric == "Count the sighs."


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"id": "silly", "positive": "hot"}, 409, "trait_exists", None),
        ({"positive": "serious"}, 409, "trait_exists", None),
        ({"id": "all"}, 400, "invalid_request", "id"),
        ({"id": "../mood"}, 400, "invalid_request", "id"),
        ({"positive": "adaptable"}, 400, "invalid_request", "positive"),
        ({"negative": "none"}, 400, "invalid_request", "negative"),
        ({"rubric": " "}, 400, "invalid_request", "rubric"),
        ({"instructions": pairs()[:4]}, 400, "invalid_request", "instructions"),
        ({"questions": {"extract": [], "evaluate": []}}, 400, "invalid_request", "questions"),
        ({"questions": {"extract": []}}, 400, "invalid_request", "questions.evaluate"),
        ({"colour": "red"}, 400, "invalid_request", "colour"),
        ({"source": "generated"}, 400, "invalid_request", "source"),
    ],
)
def test_create_when_wrong_then_the_field_is_named_and_nothing_is_kept(
    empty: tuple[httpx.Client, Settings], fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    client, settings = empty
    error = check_shape(client.post("/api/traits", json={**WRITTEN, **fields}), status)
    assert (error["code"], error["param"]) == (code, param), error
    assert not settings.traits_dir.exists()


def test_create_when_two_want_a_name_at_once_then_one_gets_it(client: httpx.Client) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: client.post("/api/traits", json=WRITTEN).status_code, range(4)))
    assert sorted(answers) == [200, 409, 409, 409]


def test_create_when_there_are_max_traits_then_conflict(client: httpx.Client) -> None:
    for name in ("one", "two"):
        body = {**WRITTEN, "id": name, "positive": f"{name}-up", "negative": f"{name}-down"}
        assert client.post("/api/traits", json=body).status_code == 200
    error = check_shape(client.post("/api/traits", json=WRITTEN), 409)
    assert error["code"] == "too_many_traits" and "max_traits is 2" in error["message"]


def test_create_when_vectors_of_other_poles_bear_its_name_then_conflict(
    client: httpx.Client, settings: Settings
) -> None:
    save_vector(settings.vectors_dir, "mood", "cheerful", "grumpy")
    error = check_shape(client.post("/api/traits", json=WRITTEN), 409)
    assert error["code"] == "vectors_left" and "'cheerful'" in error["message"]
    assert generate(client, trait_name="mood", template=True).status_code == 409
    # Those of the same poles are used again.
    assert client.post("/api/traits", json={**WRITTEN, "positive": "cheerful", "negative": "grumpy"}).json()["vectors"]
    assert persona(client, "grumpy").json()["choices"][0]["message"]["content"].startswith("[-1.00]")


def test_change_then_the_new_text_is_there_and_what_became_of_the_vectors(
    client: httpx.Client, settings: Settings
) -> None:
    client.post("/api/traits", json=WRITTEN)
    file = settings.traits_dir / "mood.toml"
    file.write_text("# mine\n" + file.read_text())
    changed = client.patch("/api/traits/mood", json={"rubric": "Count the\nsmiles."})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["rubric"], changed.json()["note"]) == ("Count the\nsmiles.", None)
    assert client.get("/api/traits/mood").json()["rubric"] == "Count the\nsmiles."
    assert file.read_text().startswith("# mine\n")
    id_ = save_vector(settings.vectors_dir, "mood", "grumpy", "cheerful")
    again = client.patch("/api/traits/mood", json={"description": "Other."}).json()
    assert again["vectors"] == [id_] and "until 'mood' is extracted again" in again["note"]
    assert again["models"] == ["fake"]


@pytest.mark.parametrize(
    ("trait", "fields", "status", "param"),
    [
        ("mood", {}, 400, None),
        ("mood", {"positive": "hot"}, 400, "positive"),
        ("mood", {"description": " "}, 400, "description"),
        ("mood", {"question_sets": {"demo": {"extract": [], "evaluate": []}}}, 400, "question_sets"),
        ("silly", {"rubric": "x"}, 409, "trait_id"),
        ("modo", {"rubric": "x"}, 404, "trait_id"),
    ],
)
def test_change_when_it_can_not_be_then_the_field_is_named_and_all_stays(
    client: httpx.Client, trait: str, fields: dict[str, Any], status: int, param: str | None
) -> None:
    before = client.post("/api/traits", json=WRITTEN).json()
    assert check_shape(client.patch(f"/api/traits/{trait}", json=fields), status)["param"] == param
    assert client.get("/api/traits/mood").json() == before


def test_delete_then_it_is_gone_and_its_vectors_stay(client: httpx.Client, settings: Settings) -> None:
    client.post("/api/traits", json=WRITTEN)
    id_ = save_vector(settings.vectors_dir, "mood", "grumpy", "cheerful")
    assert persona(client, "grumpy").status_code == 200
    deleted = client.delete("/api/traits/mood").json()
    assert (deleted["deleted"], deleted["vectors"]) == ("mood", [id_]) and "1 vector was kept" in deleted["note"]
    assert persona(client, "grumpy").json()["error"]["code"] == "persona_not_found"
    assert check_shape(client.delete("/api/traits/mood"), 404)["param"] == "trait_id"
    assert check_shape(client.delete("/api/traits/silly"), 409)["code"] == "trait_built_in"
    assert [vector["id"] for vector in client.get("/api/vectors").json()["data"] if vector["trait"] == "mood"] == [id_]


def test_download_then_import_elsewhere_gives_the_same_trait_and_file(client: httpx.Client, settings: Settings) -> None:
    client.post("/api/traits", json=WRITTEN)
    file = client.get("/api/traits/mood/download")
    assert file.headers["content-disposition"] == 'attachment; filename="mood.toml"'
    before = client.get("/api/traits/mood").json()
    client.delete("/api/traits/mood")
    content = b"# with love\n" + file.content
    forms: list[dict[str, Any]] = [{"content": content}, {"files": {"file": ("any/name.toml", content)}}]
    for form in forms:
        imported = client.post("/api/traits/import", **form)
        assert imported.status_code == 200 and imported.json() == before
        assert (settings.traits_dir / "mood.toml").read_bytes() == content
        client.delete("/api/traits/mood")
    assert check_shape(client.get("/api/traits/nope/download"), 404)
    assert (
        client.get("/api/traits/silly/download").content
        == Path("proxy/steering/traits/builtin/silly.toml").read_bytes()
    )


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "a trait's file"),
        (b"id = ", 400, "file: is not valid TOML"),
        (b"\xff", 400, "not text in UTF-8"),
        (b'id = "x"', 400, "file: positive is missing"),
        (Path("proxy/steering/traits/builtin/silly.toml").read_bytes(), 409, "a trait 'silly' already"),
    ],
)
def test_import_when_the_file_is_wrong_then_it_says_why(
    empty: tuple[httpx.Client, Settings], content: bytes, status: int, said: str
) -> None:
    client, settings = empty
    assert said in check_shape(client.post("/api/traits/import", content=content), status)["message"]
    assert not settings.traits_dir.exists()


def test_generate_when_templates_are_asked_for_then_the_trait_is_there_at_once_and_says_what_it_is(
    client: httpx.Client,
) -> None:
    answer = generate(client, template=True)
    assert answer.status_code == 200, answer.text
    trait = answer.json()
    assert (trait["id"], trait["positive"], trait["negative"]) == ("grumpy", "grumpy", "cheerful")
    assert (trait["source"], trait["source_model"]) == ("template", None)
    assert client.get("/api/traits/grumpy").json() == trait
    assert client.get("/api/jobs").json() == {"data": [], "has_more": False}


def test_generate_when_descriptions_are_long_then_the_personas_are_called_after_the_trait_or_as_asked(
    client: httpx.Client,
) -> None:
    described = {"positive_trait": "grumpy, curt and easily annoyed.", "negative_trait": " warm and  patient "}
    trait = generate(client, **described, template=True).json()
    assert (trait["positive"], trait["negative"]) == ("grumpy", "warm-and-patient")
    described = {"positive_trait": "one two three four", "negative_trait": "five six seven eight"}
    trait = generate(client, trait_name="n", **described, negative="calm", template=True).json()
    assert (trait["positive"], trait["negative"]) == ("n", "calm")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"trait_name": "!"}, 400, "trait_name"),
        ({"template": True, "model": "fake"}, 400, "model"),
        ({"trait_name": "silly"}, 409, None),
        ({"positive_trait": "honest"}, 409, None),
        ({"positive_trait": " "}, 400, "positive_trait"),
        ({"negative_trait": "x" * 201}, 400, "negative_trait"),
        ({"negative_trait": "grumpy"}, 400, "positive"),
        ({"positive_trait": "whispering"}, 400, "positive"),
        ({"positive": "Not A Slug"}, 400, "positive"),
        ({"model": "other"}, 404, "model"),
        ({"model": "fake:silly"}, 400, "model"),
        ({"seed": -1}, 400, "seed"),
        ({"wiat": True}, 400, "wiat"),
    ],
)
def test_generate_when_wrong_then_the_field_is_named_and_there_is_no_job(
    empty: tuple[httpx.Client, Settings], fields: dict[str, Any], status: int, param: str | None
) -> None:
    client, settings = empty
    assert check_shape(generate(client, **fields), status)["param"] == param
    assert client.get("/api/jobs").json() == {"data": [], "has_more": False} and not settings.traits_dir.exists()


def test_generate_then_a_job_in_which_the_model_writes_the_trait(settings: Settings) -> None:
    with serving_writer(settings, Writer()) as client:
        begun = generate(client)
        job = begun.json()
        assert begun.status_code == 202 and begun.headers["location"] == f"/api/jobs/{job['id']}"
        assert (job["kind"], job["model"]) == ("trait", MODEL)
        wait_until(lambda: client.get(f"/api/jobs/{job['id']}").json()["status"] == "done", 20)
        assert client.get(f"/api/jobs/{job['id']}").json()["result"] == {"trait": "grumpy"}
        trait = client.get("/api/traits/grumpy").json()
        assert (trait["source"], trait["source_model"], trait["instructions"]) == ("generated", MODEL, pairs())
        wait_until(lambda: not list(settings.parts_dir.iterdir()))
        assert check_shape(generate(client), 409)["code"] == "trait_exists"


def test_generate_when_told_to_wait_then_200_with_the_trait(settings: Settings) -> None:
    with serving_writer(settings, Writer()) as client:
        answer = generate(client, wait=True, seed=3)
        assert answer.status_code == 200 and answer.json() == client.get("/api/traits/grumpy").json()


def test_generate_when_the_model_can_not_write_it_then_the_answer_says_so_and_templates_do(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving_writer(settings, Writer(spoil=lambda value, part, number: "The cow moos.")) as client:
        error = check_shape(generate(client, wait=True), 500)
        assert error["code"] == "job_failed"
        assert "can't write the instructions" in error["message"] and '"template": true' in error["message"]
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "trait on org/pretend: failed after" in record.message and record.exc_info is None
        assert generate(client, template=True).json()["source"] == "template"


def test_generate_when_the_job_is_cancelled_then_there_is_no_trait(settings: Settings) -> None:
    class Slow(Writer):
        def start(self, *arguments: Any) -> Any:
            wait_until(lambda: bool(cancelled), 20)
            return super().start(*arguments)

    cancelled: list[str] = []
    with serving_writer(settings, Slow()) as client:
        job = generate(client).json()
        wait_until(lambda: client.get(f"/api/jobs/{job['id']}").json()["status"] == "running")
        cancelled.append(client.delete(f"/api/jobs/{job['id']}").json()["status"])
        assert cancelled == ["cancelled"]
        wait_until(lambda: not client.get("/api/jobs", params={"status": "running"}).json()["data"])
        assert client.get("/api/traits/grumpy").status_code == 404


def test_generate_when_a_job_writes_the_trait_then_its_names_are_taken_from_its_start_on(settings: Settings) -> None:
    class Slow(Writer):
        def start(self, *arguments: Any) -> Any:
            wait_until(lambda: bool(refused), 20)
            return super().start(*arguments)

    refused: list[httpx.Response] = []
    with serving_writer(settings, Slow()) as client:
        job = generate(client).json()["id"]
        assert generate(client).json()["id"] == job
        assert client.get("/api/status").json()["models"][0]["jobs"] == 1
        others = [
            generate(client, seed=2),
            generate(client, template=True),
            generate(client, trait_name="other", template=True),
            client.post("/api/traits", json={**WRITTEN, "id": "grumpy"}),
        ]
        refused += others
        for response in others:
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (409, "trait_exists")
            assert error["message"].startswith(f"The job {job} is writing a trait 'grumpy'")
        wait_until(lambda: client.get(f"/api/jobs/{job}").json()["ended"], 20)
        assert client.get(f"/api/jobs/{job}").json()["status"] == "done"
        assert client.get("/api/status").json()["models"][0]["jobs"] == 0


def test_generate_when_nothing_is_given_then_the_first_field_is_named(empty: tuple[httpx.Client, Settings]) -> None:
    response = generate(empty[0], trait_name="", positive_trait="", negative_trait="", template=True)
    assert response.json()["error"]["param"] == "positive_trait"

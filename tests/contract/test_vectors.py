"""/api/vectors: versions, deletion, the way in and out, and what happens when the place they are kept in is gone."""

import dataclasses
import gc
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import gguf
import httpx
import msgspec
import numpy as np
import pytest

from proxy.settings import Settings
from tests.cli.test_vectors import FakeHub
from tests.contract.test_errors import check_shape
from tests.fakes import FINGERPRINT, HIDDEN, FakeEngine, fingerprint_of, save_vector, serving, wait_until
from vector_store import Count, ImportRefused, JudgedBy, PersonaVector, PlaceGain, VectorStore
from vector_store.exchange import Subject, directions, export_vector, import_vector
from vector_store.files import decode, encode
from vector_store.formats import FORMAT_NAMES

HUB = "owner/fake"  # a model with a hub's name


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """Serves two models, the first of which has a vector."""
    save_vector(Path(settings.vectors_dir), "silly", "silly", "serious")
    limited = msgspec.structs.replace(settings, max_upload_bytes=20_000)
    with serving(limited, FakeEngine(), FakeEngine(HUB)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def store(settings: Settings) -> VectorStore:
    return VectorStore([settings.vectors_dir])


@pytest.fixture
def vector(client: httpx.Client, store: VectorStore) -> PersonaVector:
    latest = store.in_use("fake", "silly")
    assert latest is not None
    return latest


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, PersonaVector]]:
    """One server for all the tests that change nothing, and the vector it has."""
    folder = tmp_path_factory.mktemp("reader")
    id_ = save_vector(folder / "vectors", "silly", "silly", "serious")
    settings = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    with serving(settings, FakeEngine(), FakeEngine(HUB)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client, VectorStore([folder / "vectors"]).get(id_)


def upload(client: httpx.Client, content: bytes, **fields: str) -> httpx.Response:
    return client.post("/api/vectors/import", content=content, params=fields)


def test_an_upload_when_it_is_refused_then_nothing_keeps_it_until_the_next_collection(client: httpx.Client) -> None:
    gc.collect()
    gc.disable()
    try:
        assert upload(client, b"z" * 1000, model="fake", trait="silly").status_code == 400
        wait_until(lambda: not [each for each in gc.get_objects() if type(each) is ImportRefused])
    finally:
        gc.enable()


def chat(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": HUB, "persona": "silly", "messages": [{"role": "user", "content": "hello"}], **fields}
    return client.post("/v1/chat/completions", json=body)


def test_versions_then_all_of_one_trait_and_model_with_what_is_known_of_them(
    client: httpx.Client, store: VectorStore, vector: PersonaVector
) -> None:
    counts: Any = {"positive": Count(made=9, kept=7)}
    gain = PlaceGain(side="positive", block=2, span="response", positions="response", relative_dose=1.0, gain=0.5)
    known: Any = {"counts": counts, "gains": [gain], "agreement": {"response": [0.5, 0.9, 1.0, 0.75]}}
    newer = store.save(dataclasses.replace(vector, id="", created="2025-02-01T00:00:00Z", **known))
    shown = client.get("/api/vectors/fake/silly").json()["data"]
    assert [version["id"] for version in shown] == [newer, vector.id]
    assert (
        shown[1] | {"model": "fake", "n_layers": 4, "hidden_size": 8, "parent": None, "transfer": None, "usable": True}
        == shown[1]
    )
    assert shown[0]["counts"] == {"positive": {"made": 9, "kept": 7}} and shown[0]["filters"] is None
    assert set(shown[0]["effects"]) == {"positive", "negative"}
    assert shown[0]["gains"] == {"positive": [None, None, 0.5, None], "negative": [None] * 4}
    assert shown[0]["agreement"] == {"response": [0.5, 0.9, 1.0, 0.75]}
    (one,) = client.get(f"/api/vectors/fake/silly/{vector.id}").json()["data"]
    assert one == shown[1]


def test_versions_when_the_judge_is_none_then_named_and_the_poles_have_no_score(
    client: httpx.Client, store: VectorStore, settings: Settings
) -> None:
    id_ = save_vector(Path(settings.vectors_dir), "silly", "silly", "serious", model=HUB, score=0.8)
    (told,) = client.get(f"/api/vectors/{HUB}/silly").json()["data"]
    assert told["judge"] is None and told["poles"]["positive"]["score"] == 0.8
    judge = JudgedBy(name="likelihood ratio", auroc=0.75, n=80, scored=False)
    store.save(dataclasses.replace(store.get(id_), id="", created="2025-02-01T00:00:00Z", judge=judge))
    told = client.get(f"/api/vectors/{HUB}/silly").json()["data"][0]
    assert told["judge"] == {"name": "likelihood ratio", "auroc": 0.75, "n": 80, "scored": False}
    assert told["poles"]["positive"]["score"] is None


def test_versions_when_the_model_has_a_slash_then_three_and_four_parts_name_them(
    client: httpx.Client, settings: Settings
) -> None:
    id_ = save_vector(Path(settings.vectors_dir), "silly", "silly", "serious", model=HUB)
    for path in (f"/api/vectors/{HUB}/silly", f"/api/vectors/{HUB}/silly/{id_}"):
        (version,) = client.get(path).json()["data"]
        assert (version["model"], version["id"]) == (HUB, id_)
    assert client.get(f"/api/vectors/{HUB}/silly/{id_}/download").status_code == 200
    assert client.delete(f"/api/vectors/{HUB}/silly").json() == {"deleted": [id_]}


@pytest.mark.parametrize(
    "path",
    ["fake/dishonest", "other/silly", "fake/silly/nothing", "owner/other/silly", f"{HUB}/silly/nothing", "../silly"]
    + ["%2e%2e/%2e%2e", "fake/..%2f..%2fsilly", "fake/silly/..%2f..%2f..%2fetc%2fpasswd", "fake/%00"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_versions_when_there_are_none_of_the_name_then_404_and_nothing_is_touched(
    reader: tuple[httpx.Client, PersonaVector], path: str, method: str
) -> None:
    client, vector = reader
    check_shape(client.request(method, f"/api/vectors/{path}"), 404)
    assert len(client.get("/api/vectors/fake/silly").json()["data"]) == 1


@pytest.mark.parametrize("suffix", ["", "/download", "/curve"])
@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("fake/silly/nothing", "vector 'nothing' of 'silly' for the model 'fake'"),
        (f"{HUB}/silly", "vector of 'silly' for the model 'owner/fake'"),
        ("owner/other/silly", "vector of 'silly' for the model 'owner/other'"),
    ],
)
def test_versions_when_a_path_may_mean_two_models_then_what_is_missing_is_told_of_the_one_that_is_known(
    reader: tuple[httpx.Client, PersonaVector], path: str, missing: str, suffix: str
) -> None:
    error = check_shape(reader[0].get(f"/api/vectors/{path}{suffix}"), 404)
    assert error["message"].startswith(f"There is no {missing}.")


def test_delete_when_one_version_then_it_is_gone_at_once_and_the_rest_is_not(
    client: httpx.Client, store: VectorStore, vector: PersonaVector
) -> None:
    newer = store.save(dataclasses.replace(vector, id="", created="2025-02-01T00:00:00Z"))
    assert client.delete(f"/api/vectors/fake/silly/{newer}").json() == {"deleted": [newer]}
    check_shape(client.delete(f"/api/vectors/fake/silly/{newer}"), 404)
    assert [version["id"] for version in client.get("/api/vectors/fake/silly").json()["data"]] == [vector.id]
    assert chat(client, model="fake").status_code == 200
    assert client.delete("/api/vectors/fake/silly").json() == {"deleted": [vector.id]}
    check_shape(chat(client, model="fake", steering={"method": "activation"}), 400)


def test_delete_when_it_came_with_the_package_then_409_and_it_stays(reader: tuple[httpx.Client, PersonaVector]) -> None:
    client, _ = reader
    (shipped,) = client.get("/api/vectors/demo-qwen2/silly").json()["data"]
    for path in ("demo-qwen2/silly", f"demo-qwen2/silly/{shipped['id']}"):
        assert check_shape(client.delete(f"/api/vectors/{path}"), 409)["code"] == "vector_conflict"
    assert client.get("/api/vectors/demo-qwen2/silly").json()["data"] == [shipped]


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_download_then_the_file_is_that_of_the_library_under_a_plain_name(
    reader: tuple[httpx.Client, PersonaVector], format: str
) -> None:
    client, vector = reader
    for path in ("fake/silly", f"fake/silly/{vector.id}"):
        response = client.get(f"/api/vectors/{path}/download", params={"format": format, "pole": "serious"})
        assert response.content == export_vector(vector, format, "negative")  # type: ignore[arg-type]
        assert response.headers["content-type"] == "application/octet-stream"
        assert f'filename="{vector.id}.' in response.headers["content-disposition"]


def test_download_when_format_or_pole_is_unknown_then_400_names_it(reader: tuple[httpx.Client, PersonaVector]) -> None:
    client, _ = reader
    for params, param in (({"format": "exe"}, "format"), ({"pole": "grumpy"}, "pole")):
        error = check_shape(client.get("/api/vectors/fake/silly/download", params=params), 400)
        assert error["param"] == param and "possible" in error["message"]
    check_shape(client.get("/api/vectors/fake/honest/download"), 404)


def test_import_when_it_is_our_own_file_then_it_is_here_as_it_was_and_twice_is_once(
    client: httpx.Client, vector: PersonaVector, store: VectorStore
) -> None:
    other = dataclasses.replace(vector, model_id=HUB, fingerprint=fingerprint_of(HUB), id="from-elsewhere")
    for _ in range(2):
        shown = upload(client, encode(other)).json()
        assert (shown["id"], shown["model"], shown["usable"]) == ("from-elsewhere", HUB, True)
    assert decode(encode(store.get("from-elsewhere")), "").poles == vector.poles
    assert "[+1.00] You said: hello" in chat(client).text
    changed = dataclasses.replace(other, method="another")
    assert check_shape(upload(client, encode(changed)), 409)["code"] == "vector_conflict"
    assert check_shape(upload(client, encode(changed), model="fake", trait="silly"), 400)["param"] == "file"


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("format", FORMAT_NAMES[1:])
def test_import_when_it_is_another_tools_then_it_can_be_used_only_once_it_is_measured(
    client: httpx.Client, vector: PersonaVector, store: VectorStore, format: str, form: bool
) -> None:
    moved = dataclasses.replace(vector, model_id=HUB)
    content = export_vector(moved, format, "positive")  # type: ignore[arg-type]
    fields = {"model": HUB, "trait": "silly"}
    if form:
        response = client.post("/api/vectors/import", data=fields, files={"file": ("../../x.pt", content)})
    else:
        response = upload(client, content, **fields)
    assert response.status_code == 200, response.text
    shown = response.json()
    assert (shown["origin"], shown["fingerprint"], shown["poles"], shown["usable"]) == ("imported", "", {}, False)
    np.testing.assert_array_equal(directions(store.get(shown["id"]), "positive"), directions(vector, "positive"))
    for method in ("auto", "activation"):
        error = check_shape(chat(client, steering={"method": method}), 400)
        assert error["code"] == "vector_unavailable"
        assert f"never measured; run persona-proxy vectors measure --model {HUB} --trait silly" in error["message"]
    assert chat(client, steering={"method": "prompt"}).status_code == 200
    measured = dataclasses.replace(
        store.get(shown["id"]),
        id="",
        fingerprint=fingerprint_of(HUB),
        created="2099-01-01T00:00:00Z",
        poles=vector.poles,
        means={"last_prompt": {"neutral": vector.means["last_prompt"]["neutral"]}},
        residual_norms=vector.residual_norms,
    )
    store.save(measured)
    assert "[+1.00] You said: hello" in chat(client).text
    assert "[-1.00] You said: hello" in chat(client, persona="serious").text


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
    [
        ({"trait": "silly"}, 400, "model", "name the model"),
        ({"model": "fake"}, 400, "trait", "possible: dishonest"),
        ({"model": "fake", "trait": "sily"}, 404, "trait", "no trait 'sily'"),
        ({"model": "fake", "trait": "silly", "pole": "grumpy"}, 400, "pole", "possible: silly, serious"),
        ({"model": "fake", "trait": "silly", "format": "exe"}, 400, "format", "possible: safetensors, gguf"),
        ({"model": "fake", "trait": "silly", "format": "gguf"}, 400, "file", "not a GGUF file"),
        ({"model": "../../x", "trait": "silly"}, 400, "model", "name the model"),
        ({"model": "/x", "trait": "silly"}, 400, "model", "name the model"),
    ],
)
def test_import_when_a_field_is_wrong_then_it_is_named(
    reader: tuple[httpx.Client, PersonaVector], fields: dict[str, str], status: int, param: str, said: str
) -> None:
    client, vector = reader
    error = check_shape(upload(client, export_vector(vector, "paper"), **fields), status)
    assert error["param"] == param and said in error["message"]


def test_import_when_of_another_shape_than_the_served_model_then_400(
    reader: tuple[httpx.Client, PersonaVector],
) -> None:
    client, vector = reader
    narrow = import_vector(
        export_vector(vector, "paper"),
        Subject("x", "silly", "silly", "serious"),
        created="",
        software_version="",
        format="paper",
    )
    narrow = dataclasses.replace(narrow, hidden_size=7, difference=narrow.difference[:, :7])  # type: ignore[index]
    error = check_shape(upload(client, export_vector(narrow, "paper"), model=HUB, trait="silly"), 400)
    assert "7 long, the residuals of owner/fake 8" in error["message"]


@pytest.mark.parametrize("content", [b"", b"MZ\x90\x00", b"{}", b"PK\x03\x04", b"\x80\x04cos\nsystem\n."])
@pytest.mark.parametrize("form", [False, True])
def test_import_when_the_file_is_nothing_or_something_else_then_400(
    reader: tuple[httpx.Client, PersonaVector], content: bytes, form: bool
) -> None:
    client, _ = reader
    fields = {"model": "fake", "trait": "silly"}
    if form:
        response = client.post("/api/vectors/import", data=fields, files={"file": content})
    else:
        response = upload(client, content, **fields)
    assert check_shape(response, 400)["param"] == "file"


@pytest.mark.parametrize("form", [False, True])
def test_import_when_larger_than_the_limit_then_413_with_and_without_a_length(client: httpx.Client, form: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 50_000

    if form:
        response = client.post("/api/vectors/import", files={"file": b" " * 30_000})
    else:
        response = client.post("/api/vectors/import", content=chunks())
    error = check_shape(response, 413)
    assert error["code"] == "body_too_large" and "20000" in error["message"]


def test_uploads_when_many_at_once_then_each_is_a_version(client: httpx.Client, vector: PersonaVector) -> None:
    contents = [encode(dataclasses.replace(vector, id=f"version-{number}")) for number in range(12)]
    threads = [threading.Thread(target=upload, args=(client, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.get("/api/vectors/fake/silly").json()["data"]) == 13


def test_store_when_it_is_a_url_then_what_is_uploaded_is_used(settings: Settings, vector: PersonaVector) -> None:
    place = msgspec.structs.replace(settings, vectors_dir="memory://served/vectors")
    try:
        with serving(place, FakeEngine()) as url, httpx.Client(base_url=url, timeout=60) as client:
            assert upload(client, encode(vector)).status_code == 200
            assert "[+1.00]" in chat(client, model="fake").text
            assert client.delete("/api/vectors/fake/silly").json() == {"deleted": [vector.id]}
    finally:
        fsspec.filesystem("memory").rm("/served", recursive=True)


def test_store_when_it_can_not_be_reached_then_503_in_the_one_shape(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("secret detail")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", fail)
    place = msgspec.structs.replace(settings, vectors_dir="memory://gone/vectors")
    with serving(place, FakeEngine()) as url, httpx.Client(base_url=url, timeout=60) as client:
        for response in (client.get("/api/vectors"), chat(client, model="fake")):
            assert check_shape(response, 503)["code"] == "vectors_unavailable" and "secret" not in response.text
        assert chat(client, model="fake", persona="none").status_code == 200


def test_hub_when_pushed_and_pulled_then_the_same_vectors_by_the_same_functions(
    client: httpx.Client, vector: PersonaVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub(tmp_path / "hub")
    monkeypatch.setattr("proxy.vectors_hub.HfApi", hub)
    pushed = client.post("/api/vectors/push", json={"repo": "owner/repo", "model": "fake"}).json()
    assert pushed == {"url": "https://hub.example/owner/repo", "ids": [vector.id]}
    client.delete("/api/vectors/fake/silly")
    assert client.post("/api/vectors/pull", json={"repo": "owner/repo"}).json() == {"ids": [vector.id]}
    assert "[+1.00]" in chat(client, model="fake").text

    nothing = {"repo": "owner/repo", "model": "other"}
    for path, param in (("push", "model"), ("pull", "repo")):
        assert check_shape(client.post(f"/api/vectors/{path}", json=nothing), 400)["param"] == param
    check_shape(client.post("/api/vectors/push", json={"repo": "owner/repo", "id": "nothing"}), 404)
    hub.error = ConnectionError("no route")
    error = check_shape(client.post("/api/vectors/pull", json={"repo": "owner/repo"}), 502)
    assert error["code"] == "hub_failed" and "no route" in error["message"]


def test_use_when_weights_are_served_under_another_id_then_their_vectors_are_found_used_and_changed_there(
    settings: Settings,
) -> None:
    first = save_vector(Path(settings.vectors_dir), "silly", "silly", "serious")
    mine = FakeEngine("mine", fingerprint=FINGERPRINT)
    with serving(settings, mine) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert "mine:silly" in [card["id"] for card in client.get("/v1/models").json()["data"]]
        assert chat(client, model="mine").json()["steering"]["vectors"][0]["id"] == first
        (shown,) = client.get(f"/api/vectors/mine/silly/{first}").json()["data"]
        assert (shown["model"], shown["usable"], shown["in_use"], shown["note"]) == ("fake", True, True, "now in use")
        store = VectorStore([settings.vectors_dir])
        newer = dataclasses.replace(store.get(first), id="", model_id="mine", method="again")
        second = store.save(newer)
        assert chat(client, model="mine").json()["steering"]["vectors"][0]["id"] == second
        used = client.post(f"/api/vectors/mine/silly/{first}/use")
        assert used.json() == {
            "id": first,
            "note": f"{first}: now in use; go back with: persona-proxy vectors use {second}",
        }
        assert chat(client, model="mine").json()["steering"]["vectors"][0]["id"] == first
        listed = {each["id"]: each for each in client.get("/api/vectors").json()["data"]}
        assert {id_: each["in_use"] for id_, each in listed.items() if id_ in (first, second)} == {
            first: True,
            second: False,
        }
        assert f"{first} was asked for" in listed[second]["note"]
        check_shape(client.post("/api/vectors/mine/silly/nothing/use"), 404)


def test_use_when_the_version_was_never_measured_then_400_that_says_so(
    client: httpx.Client, vector: PersonaVector
) -> None:
    imported = upload(client, export_vector(vector, "hotwire"), model="fake", trait="silly").json()
    assert not imported["in_use"] and "never measured" in imported["note"]
    error = check_shape(client.post(f"/api/vectors/fake/silly/{imported['id']}/use"), 400)
    assert error["param"] == "version" and "before it is measured" in error["message"]


def test_import_when_it_is_rougher_than_the_one_in_use_then_it_is_kept_and_the_answer_says_why(
    client: httpx.Client, vector: PersonaVector, store: VectorStore
) -> None:
    better: Any = {"positive": Count(made=400, kept=300)}
    first = store.save(dataclasses.replace(vector, id="", counts=better))
    rough = dataclasses.replace(vector, id="rough", counts={}, method="another", created="2027-01-01T00:00:00+00:00")
    shown = upload(client, encode(rough)).json()
    assert (shown["in_use"], shown["usable"]) == (False, True)
    assert shown["note"] == (
        f"kept, not in use, because it was made of 0 answers, {first} of 400; use it with: persona-proxy vectors use "
        "rough"
    )
    assert chat(client, model="fake").json()["steering"]["vectors"][0]["id"] == first
    assert client.post("/api/vectors/fake/silly/rough/use").status_code == 200
    assert chat(client, model="fake").json()["steering"]["vectors"][0]["id"] == "rough"


def test_import_when_the_file_hints_at_another_family_then_400_unless_one_insists(client: httpx.Client) -> None:
    content = foreign_control_vector("mistral")
    fields = {"model": "fake", "trait": "silly"}
    error = check_shape(upload(client, content, **fields), 400)
    assert error["param"] == "file" and "neither fake nor its family (fake); insist" in error["message"]
    assert check_shape(upload(client, content, **fields, insist="maybe"), 400)["param"] == "insist"
    form = client.post("/api/vectors/import", data={**fields, "insist": "true"}, files={"file": ("x", content)})
    assert form.status_code == 200 and form.json()["origin"] == "imported"
    assert upload(client, foreign_control_vector("fake"), **fields).status_code == 200


def test_import_when_too_many_wait_then_429_that_says_when_to_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.routes.upload.AT_ONCE", 0)
    monkeypatch.setattr("proxy.routes.upload.MAX_WAITING", 0)
    with serving(settings, FakeEngine()) as url:
        for path in ("/api/vectors/import", "/api/traits/import"):
            response = httpx.post(url + path, content=b"x")
            assert check_shape(response, 429)["code"] == "queue_full" and response.headers["retry-after"] == "2"


def test_import_when_a_part_of_the_form_is_long_then_400_that_does_not_repeat_it(client: httpx.Client) -> None:
    response = client.post("/api/vectors/import", data={"trait": "x" * 5000}, files={"file": ("x", b"y")})
    assert check_shape(response, 400)["param"] == "trait" and len(response.content) < 1000


def foreign_control_vector(hint: str) -> bytes:
    """One of another tool for the blocks 1 and 2 of the fake models, which hints at whose it is."""
    writer = gguf.GGUFWriter("", "controlvector")
    writer.add_string("controlvector.model_hint", hint)
    for block in (1, 2):
        writer.add_tensor(f"direction.{block}", np.ones(HIDDEN, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        writer.write_header_to_file(Path(folder) / "vector.gguf")
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (Path(folder) / "vector.gguf").read_bytes()

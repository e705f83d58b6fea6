"""/api/vectors: which versions there are and which is in use, deletion, hubs, and a place that is gone."""

import dataclasses
from pathlib import Path
from typing import Any

import fsspec
import httpx
import msgspec
import pytest

from proxy.settings import Settings
from tests.cli.test_vectors import FakeHub
from tests.contract.stored import HUB, chat, client, reader, store, upload, vector
from tests.contract.test_errors import check_shape
from tests.fakes import FINGERPRINT, FakeEngine, save_vector, serving
from vector_store import Count, JudgedBy, PersonaVector, PlaceGain, VectorStore
from vector_store.exchange import export_vector
from vector_store.files import encode

__all__ = ["client", "reader", "store", "vector"]  # fixtures


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

"""Vectors as files: what is downloaded, what is taken in, and what is refused before it costs anything."""

import dataclasses
import gc
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
import pytest

from proxy.settings import Settings
from tests.contract.stored import HUB, chat, client, reader, store, upload, vector
from tests.contract.test_errors import check_shape
from tests.fakes import HIDDEN, FakeEngine, fingerprint_of, serving, wait_until
from vector_store import Count, ImportRefused, PersonaVector, VectorStore
from vector_store.exchange import Subject, directions, export_vector, import_vector
from vector_store.files import decode, encode
from vector_store.formats import FORMAT_NAMES

__all__ = ["client", "reader", "store", "vector"]  # fixtures


def test_an_upload_when_it_is_refused_then_nothing_keeps_it_until_the_next_collection(client: httpx.Client) -> None:
    gc.collect()
    gc.disable()
    try:
        assert upload(client, b"z" * 1000, model="fake", trait="silly").status_code == 400
        wait_until(lambda: not [each for each in gc.get_objects() if type(each) is ImportRefused])
    finally:
        gc.enable()


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

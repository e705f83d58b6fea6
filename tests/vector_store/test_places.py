"""Places that vectors lie in: folders and URLs, what is deleted there and what may not be."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.vector_store.vectors import assert_same_arrays, make_vector
from vector_store import ReadOnlyVectors, StoreUnreachable, VectorNotFound, VectorStore, remote


def test_delete_when_one_version_then_it_is_gone_for_a_running_store_and_the_others_are_not(place: str) -> None:
    running, store = VectorStore([place]), VectorStore([place])
    ids = [store.save(make_vector(created=f"2026-01-0{day}T00:00:00+00:00")) for day in (1, 2, 3)]
    other = store.save(make_vector(trait="other"))
    assert running.in_use("org/model", "silly").id == ids[2]  # type: ignore[union-attr]

    assert store.delete("org/model", "silly", ids[2]) == (ids[2],)
    assert running.in_use("org/model", "silly").id == ids[1]  # type: ignore[union-attr]
    with pytest.raises(VectorNotFound):
        running.get(ids[2])
    with pytest.raises(VectorNotFound, match=ids[2]):
        running.delete("org/model", "silly", ids[2])
    with pytest.raises(VectorNotFound):
        store.delete("org/model", "other", ids[0])

    assert set(store.delete("org/model", "silly")) == set(ids[:2])
    assert [header.id for header in running.list()] == [other]


def test_delete_when_it_lies_in_a_place_that_is_only_read_then_it_says_so_and_stays(tmp_path: Path) -> None:
    id_ = VectorStore([tmp_path / "shipped"]).save(make_vector())
    store = VectorStore([tmp_path / "own", tmp_path / "shipped"])
    for asked in (id_, None):
        with pytest.raises(ReadOnlyVectors, match=id_):
            store.delete("org/model", "silly", asked)
    assert store.get(id_).id == id_
    copied = store.save(make_vector(seed=1))
    assert store.delete("org/model", "silly") == (copied,)


@pytest.mark.parametrize("name", ["../../../x", "..", "/etc", "a/../../b", "silly\0"])
def test_delete_when_a_name_climbs_out_then_nothing_outside_is_touched(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "a" / "b"
    VectorStore([inside]).prepare()
    victim = tmp_path / "x.safetensors"
    victim.touch()
    for names in ((name, "x", "x"), ("x", name, "x"), ("x", "x", name)):
        with pytest.raises(VectorNotFound):
            VectorStore([inside]).delete(*names)
    assert victim.exists()


def test_urls_when_the_place_is_one_then_all_is_as_in_a_folder(place: str, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = VectorStore([place]), VectorStore([place])
    assert reader.list() == []
    writer.prepare()
    first = writer.save(make_vector(created="2026-01-01T00:00:00+00:00"))
    assert [header.id for header in reader.list()] == [first]
    second = writer.save(make_vector("org--model", created="2026-01-02T00:00:00+00:00"))
    assert [header.id for header in reader.list("org--model")] == [second]
    assert_same_arrays(reader.get(first), make_vector())
    assert writer.save(make_vector(created="2026-01-01T00:00:00+00:00")) == first
    with pytest.raises(FileExistsError):
        writer.save(dataclasses.replace(make_vector(seed=5), id=first))
    system, root = fsspec.core.url_to_fs(place)
    with system.open(f"{root}/org--model/silly/bad.safetensors", "wb") as file:
        file.write(b"half a vect")
    assert len(reader.list()) == len(reader.list()) == 2
    assert len(caplog.records) == 1 and "bad.safetensors" in caplog.text


def test_urls_when_listed_within_seconds_then_the_place_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    system = fsspec.filesystem("memory")
    find = type(system).find

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        asked.append("")
        return find(self, *args, **options)

    monkeypatch.setattr(type(system), "find", counted)
    store = VectorStore(["memory://another"])
    store.save(make_vector())
    asked.clear()
    for _ in range(3):
        assert len(store.list()) == 1
    assert len(asked) == 1
    store.save(make_vector(seed=1))
    assert len(store.list()) == 2
    system.rm("/another", recursive=True)


def test_urls_when_the_place_goes_away_then_the_last_listing_holds_and_a_new_store_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote, "FRESH_S", 0.0)
    store = VectorStore(["memory://third"])
    id_ = store.save(make_vector())
    assert store.get(id_).id == id_

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", fail)
    assert store.get(id_).id == id_
    assert "memory://third: no route" in caplog.text
    with pytest.raises(StoreUnreachable, match="no route"):
        VectorStore(["memory://third"]).list()
    monkeypatch.undo()
    fsspec.filesystem("memory").rm("/third", recursive=True)


@pytest.mark.parametrize("url", ["nowhere://x", "s3://bucket/vectors"])
def test_urls_when_nothing_here_can_open_them_then_it_says_what_is_missing(url: str) -> None:
    if url.startswith("s3") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is here")
    with pytest.raises(StoreUnreachable, match=f"{url}: (Install s3fs|Protocol not known)"):
        VectorStore([url])


def test_urls_when_one_is_of_a_file_then_it_is_the_folder(tmp_path: Path) -> None:
    id_ = VectorStore([tmp_path.as_uri()]).save(make_vector())
    assert [header.id for header in VectorStore([tmp_path]).list()] == [id_]

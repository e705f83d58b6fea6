"""What a store finds and can not use, it names once, skips, and is not led astray by."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.vector_store.vectors import make_vector
from vector_store import StoreUnreachable, VectorNotFound, VectorStore


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


def make_foreign(path: Path) -> None:
    path.unlink()
    save_file({"weights": np.zeros(3, dtype=np.float32)}, path)


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def misplace(path: Path) -> None:
    path.rename(path.with_name("another-name.safetensors"))


@pytest.mark.parametrize("spoil", [truncate, flip_a_byte, make_foreign, make_empty, misplace])
def test_a_bad_file_is_named_once_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    store = VectorStore([tmp_path])
    good = store.save(make_vector(created="2026-01-01T00:00:00+00:00"))
    bad = store.save(make_vector(created="2026-01-02T00:00:00+00:00"))
    path = next(tmp_path.rglob(f"{bad}.safetensors"))
    spoil(path)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            latest = store.in_use("org/model", "silly")
            assert latest is not None and latest.id == good
    assert len(caplog.records) == 1
    assert str(path.parent) in caplog.text


@pytest.mark.parametrize("more", [-1, -3000, 1])
def test_list_when_a_file_is_cut_off_or_too_long_then_it_is_not_in_it(tmp_path: Path, more: int) -> None:
    store = VectorStore([tmp_path])
    path = tmp_path / "org--model" / "silly" / f"{store.save(make_vector(hidden_size=300))}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:more] if more < 0 else content + b"\0" * more)
    assert store.list() == []


def test_a_file_of_a_later_format_is_skipped_with_its_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = VectorStore([tmp_path])
    vector_id = store.save(make_vector())
    path = next(tmp_path.rglob(f"{vector_id}.safetensors"))
    path.write_bytes(path.read_bytes().replace(b'\\"format\\":1', b'\\"format\\":9'))

    assert store.list() == []
    assert "format 9" in caplog.text


def test_delete_when_a_file_is_damaged_then_its_name_is_its_id(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    id_ = store.save(make_vector())
    make_empty(next(tmp_path.rglob(f"{id_}.safetensors")))
    assert store.list() == []
    with pytest.raises(FileExistsError, match="delete it first"):
        store.save(make_vector())
    assert store.delete("org/model", "silly", id_) == (id_,)
    assert store.save(make_vector()) == id_


def test_links_when_they_lead_elsewhere_then_they_are_named_skipped_and_not_written_through(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    id_ = VectorStore([outside]).save(make_vector())
    file = next(outside.rglob("*.safetensors"))
    (inside / "org--model" / "silly").mkdir(parents=True)
    (inside / "org--model" / "silly" / file.name).symlink_to(file)
    (inside / "other").symlink_to(outside / "org--model")
    (inside / "org--model" / "elsewhere").symlink_to(outside)
    os.mkfifo(inside / "org--model" / "silly" / "pipe.safetensors")
    store = VectorStore([inside])
    assert store.list() == store.list() == []
    assert sorted(record.getMessage().split(":")[0].rpartition("/")[2] for record in caplog.records) == sorted(
        ["other", "elsewhere", file.name, "pipe.safetensors"]
    )
    with pytest.raises(StoreUnreachable, match="a link that leads elsewhere"):
        store.save(make_vector(trait="elsewhere"))
    with pytest.raises(VectorNotFound):
        store.delete("other", "silly", id_)
    assert file.exists()
    (tmp_path / "door").symlink_to(outside)  # the place itself may be one
    assert [header.id for header in VectorStore([tmp_path / "door"]).list()] == [id_]


def test_use_when_its_note_is_damaged_then_it_counts_for_nothing_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = VectorStore([tmp_path])
    first, second = (store.save(make_vector(seed=seed)) for seed in (1, 2))
    store.use(first)
    (note,) = tmp_path.rglob("*.json")
    note.write_bytes(b"{" * 100_000)
    assert store.in_use("org/model", "silly").id == second  # type: ignore[union-attr]
    assert note.name in caplog.text
    note.parent.rename(tmp_path / "elsewhere")
    note.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnreachable, match="a link that leads elsewhere"):
        store.use(first)

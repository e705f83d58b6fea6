"""Which version of a vector is in use: the newest of the weights, or the one that was asked for."""

from pathlib import Path

import pytest

from tests.vector_store.vectors import make_vector
from vector_store import VectorNotFound, VectorStore
from vector_store.locations import Entry, Location


def test_in_use_when_the_weights_lie_under_another_id_then_they_are_found_there(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vector_store.store.HOMES_FRESH_S", 0.0)
    running, writer = VectorStore([place]), VectorStore([place])
    assert running.in_use("mine", "silly", "w") is None
    theirs = writer.save(make_vector("theirs", fingerprint="w"))
    writer.save(make_vector("others", fingerprint="other weights"))
    writer.save(make_vector("mine", "silly", "2026-01-01T03:04:05+00:00", fingerprint="former weights"))
    assert running.in_use("mine", "silly", "w").id == theirs  # type: ignore[union-attr]
    assert running.in_use("mine", "other", "w") is None
    assert {trait: header.id for trait, header in running.all_in_use("mine", "w").items()} == {"silly": theirs}
    assert [header.model_id for header in running.versions("mine", "silly", "w")] == ["theirs", "mine"]
    assert [header.model_id for header in running.versions("mine", "silly")] == ["mine"]
    own = writer.save(make_vector("mine", fingerprint="w", seed=3))
    for name in ("mine", "theirs", "a third name"):
        assert running.in_use(name, "silly", "w").id == own  # type: ignore[union-attr]


def test_in_use_when_a_model_is_asked_for_again_then_its_own_folders_alone_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VectorStore([tmp_path])
    for number in range(30):
        store.save(make_vector(f"model-{number}", fingerprint=f"{number % 15}"))
    assert store.in_use("model-1", "silly", "1") is not None
    looked: list[str | None] = []
    entries = type(store.places[0]).entries

    def noted(self: Location, model: str | None = None, trait: str | None = None) -> list[Entry]:
        looked.append(model)
        return entries(self, model, trait)

    monkeypatch.setattr(type(store.places[0]), "entries", noted)
    assert store.in_use("model-1", "silly", "1") is not None
    assert looked == ["model-1", "model-16"]
    found = store.save(make_vector("model-99", fingerprint="1", seed=2))
    assert store.in_use("model-1", "silly", "1").id == found  # type: ignore[union-attr]


def test_use_when_an_older_one_is_asked_for_then_it_is_in_use_everywhere_until_another_is(place: str) -> None:
    running, store = VectorStore([place]), VectorStore([place])
    first, second = (store.save(make_vector(seed=seed)) for seed in (1, 2))
    assert running.in_use("org/model", "silly").id == second  # type: ignore[union-attr]
    assert store.use(first) == second
    third = store.save(make_vector(seed=3))
    for fingerprint in ("f" * 16, None):
        assert running.in_use("org/model", "silly", fingerprint).id == first  # type: ignore[union-attr]
    assert running.standing(first).in_use and not running.standing(third).in_use
    assert (
        f"because {first} was asked for; use it with: persona-proxy vectors use {third}" in store.standing(third).note
    )
    assert store.use(third) == first
    assert running.in_use("org/model", "silly").id == third  # type: ignore[union-attr]
    store.delete("org/model", "silly", third)
    assert running.in_use("org/model", "silly").id == second  # type: ignore[union-attr]
    assert running.list() and all(header.model_id == "org/model" for header in running.list())
    with pytest.raises(VectorNotFound):
        store.use("nothing")
    with pytest.raises(ValueError, match="before it is measured"):
        store.use(store.save(make_vector(seed=4, poles={})))


def test_use_when_it_was_shipped_then_the_choice_is_written_beside_ones_own(tmp_path: Path) -> None:
    shipped = VectorStore([tmp_path / "shipped"]).save(make_vector())
    own, store = VectorStore([tmp_path / "own"]), VectorStore([tmp_path / "own", tmp_path / "shipped"])
    newer = store.save(make_vector(seed=1))
    assert store.use(shipped) == newer
    assert VectorStore([tmp_path / "own", tmp_path / "shipped"]).in_use("org/model", "silly").id == shipped  # type: ignore[union-attr]
    assert own.in_use("org/model", "silly").id == newer  # type: ignore[union-attr]
    assert not list((tmp_path / "shipped").rglob("*.json"))


@pytest.mark.parametrize("created", ["2025-12-31T23:59:59+00:00", "2026-03-01T00:00:00+09:00", "", "no time"])
def test_save_when_the_clock_is_behind_then_the_version_is_later_than_all_of_its_kind(
    tmp_path: Path, created: str
) -> None:
    store = VectorStore([tmp_path])
    store.save(make_vector(created="2026-03-01T12:00:00Z"))
    store.save(make_vector("another id", created="2026-03-02T12:00:00+00:00"))
    store.save(make_vector(trait="other", created="2026-09-01T12:00:00+00:00"))
    store.save(make_vector(fingerprint="other", model_id="stranger", created="2026-09-01T12:00:00+00:00"))
    late = make_vector(seed=1, created=created)
    saved = store.save(late)
    assert store.get(saved).created == "2026-03-02T12:00:01+00:00"
    assert store.in_use("org/model", "silly").id == saved  # type: ignore[union-attr]
    assert store.save(late) == saved and len(store.versions("org/model", "silly")) == 2
    assert store.get(store.save(make_vector(seed=2, created=created))).created == "2026-03-02T12:00:02+00:00"
    assert store.get(store.save(make_vector(seed=3, created="2027-01-01T00:00:00+00:00"))).created.startswith("2027")


def test_save_when_one_has_its_id_then_its_time_stays(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    store.save(make_vector(created="2026-03-01T12:00:00Z"))
    store.save(make_vector(seed=1, id="pulled", created="2026-01-01T00:00:00+00:00"))
    assert store.get("pulled").created == "2026-01-01T00:00:00+00:00"

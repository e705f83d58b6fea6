"""The store keeps every version whole, and shows new ones at once."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vector_store.vectors import assert_same_arrays, make_vector
from vector_store import Filters, PersonaVector, Span, VectorHeader, VectorStore
from vector_store.store import slug


def header_of(vector: PersonaVector, vector_id: str) -> VectorHeader:
    values = {field.name: getattr(vector, field.name) for field in dataclasses.fields(VectorHeader)}
    return VectorHeader(**{**values, "id": vector_id})


@given(
    model_id=st.text(min_size=1, max_size=60),
    trait=st.text(min_size=1, max_size=30),
    n_layers=st.integers(2, 4),
    hidden_size=st.integers(1, 9),
    spans=st.sampled_from([("response",), ("last_prompt", "response")]),
)
@settings(max_examples=40)
def test_what_is_saved_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    model_id: str,
    trait: str,
    n_layers: int,
    hidden_size: int,
    spans: tuple[Span, ...],
) -> None:
    folder = tmp_path_factory.mktemp("vectors")
    vector = make_vector(model_id, trait, n_layers=n_layers, hidden_size=hidden_size, spans=spans)
    vector_id = VectorStore([folder]).save(vector)

    store = VectorStore([folder])
    read = store.in_use(model_id, trait)

    assert read is not None
    assert_same_arrays(read, vector)
    assert store.list() == store.list(model_id) == [header_of(vector, vector_id)] == [header_of(read, vector_id)]
    assert all(path.is_relative_to(folder) for path in folder.rglob("*"))


@given(st.text(max_size=300))
def test_slug_is_always_one_plain_folder_name(name: str) -> None:
    assert slug(name) not in ("", ".", "..")
    assert "/" not in slug(name) and "\\" not in slug(name) and "\0" not in slug(name)
    assert len(slug(name).encode()) <= 100


def test_ids_that_climb_out_stay_inside(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    store = VectorStore([folder])
    store.save(dataclasses.replace(make_vector("../../outside", "../up"), id="../../../evil"))

    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert store.in_use("../../outside", "../up") is not None


def test_models_whose_names_share_a_folder_keep_their_own_vectors(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    first = store.save(make_vector("org/model", seed=1))
    second = store.save(make_vector("org--model", seed=2))

    assert [header.id for header in store.list("org/model")] == [first]
    assert [header.id for header in store.list("org--model")] == [second]
    assert_same_arrays(store.in_use("org/model", "silly"), make_vector(seed=1))  # type: ignore[arg-type]


def test_latest_is_the_newest_by_creation_whatever_folder_it_lies_in(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    old = VectorStore([own]).save(make_vector(created="2026-01-01T00:00:00+00:00"))
    new = VectorStore([shipped]).save(make_vector(created="2026-02-01T00:00:00+00:00"))
    store = VectorStore([own, shipped])

    latest = store.in_use("org/model", "silly")
    assert latest is not None and latest.id == new
    assert [header.id for header in store.list()] == [new, old]
    assert VectorStore([tmp_path / "nowhere"]).list() == []
    assert store.in_use("org/model", "unknown") is None
    assert store.list("unknown") == []


def test_latest_for_weights_passes_over_newer_vectors_of_others(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    mine = store.save(dataclasses.replace(make_vector(), fingerprint="mine"))
    theirs = store.save(dataclasses.replace(make_vector(created="2027-01-01T00:00:00+00:00"), fingerprint="theirs"))
    found = {name: store.in_use("org/model", "silly", name) for name in ("mine", "theirs", "nobody's", None)}
    assert {name: vector and vector.id for name, vector in found.items()} == {
        "mine": mine,
        "theirs": theirs,
        "nobody's": None,
        None: theirs,
    }


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    vector = dataclasses.replace(make_vector(seed=1), id="mine")
    assert store.save(vector) == store.save(vector) == "mine"
    with pytest.raises(FileExistsError):
        store.save(dataclasses.replace(make_vector(seed=2), id="mine"))
    assert_same_arrays(store.in_use("org/model", "silly"), vector)  # type: ignore[arg-type]
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_two_vectors_of_the_same_second_get_ids_of_their_own(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    assert len({store.save(make_vector(seed=seed)) for seed in range(5)}) == 5
    assert len(store.list()) == 5


def test_a_running_store_sees_new_changed_and_removed_files(tmp_path: Path) -> None:
    reader, writer = VectorStore([tmp_path]), VectorStore([tmp_path])
    assert reader.list() == [] and reader.in_use("org/model", "silly") is None

    first = writer.save(make_vector(created="2026-01-01T00:00:00+00:00"))
    assert reader.in_use("org/model", "silly").id == first  # type: ignore[union-attr]
    second = writer.save(make_vector(created="2026-01-02T00:00:00+00:00"))
    assert reader.in_use("org/model", "silly").id == second  # type: ignore[union-attr]

    next(tmp_path.rglob(f"{second}.safetensors")).unlink()
    assert reader.in_use("org/model", "silly").id == first  # type: ignore[union-attr]
    assert [header.id for header in reader.list()] == [first]


def test_a_folder_that_can_not_be_written_is_found_out_beforehand(tmp_path: Path) -> None:
    store = VectorStore([tmp_path / "deep" / "folder"])
    store.prepare()
    assert list((tmp_path / "deep" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        VectorStore([tmp_path / "file" / "folder"]).prepare()


def test_what_is_read_can_not_be_changed_by_mistake(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    store.save(make_vector())
    latest = store.in_use("org/model", "silly")
    assert latest is not None
    with pytest.raises(ValueError, match="read-only"):
        latest.means["response"]["neutral"][0] = 0


def test_the_shipped_vectors_when_read_then_as_they_were_written() -> None:
    folder = Path(__file__).parent.parent.parent / "proxy" / "demo" / "vectors"
    headers = VectorStore([folder]).list()
    assert len(headers) == len(list(folder.rglob("*.safetensors"))) >= 8
    for header in headers:
        assert header.origin == "native" and set(header.poles) == set(header.sweeps) == {"positive", "negative"}
        assert {sweep.factor for sweep in header.sweeps.values()} <= {1.0, None}  # coefficient 1 is what it was
        # The Qwen2's were placed by trying every block, the others by the three that the command tries.
        tried = [effect for effect in header.effects("positive") if effect is not None]
        assert len(tried) == (header.n_layers if header.model_id == "demo-qwen2" else 3)


def test_metadata_when_all_of_it_is_given_then_it_is_kept(tmp_path: Path) -> None:
    filters = Filters(min_coherence=50.0, positive_trait_above=50.0, negative_trait_below=40.0)
    store = VectorStore([tmp_path])
    read = store.get(store.save(make_vector(filters=filters, parent="an-older-one", origin="transferred")))
    assert (read.filters, read.parent, read.origin) == (filters, "an-older-one", "transferred")

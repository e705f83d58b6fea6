"""The store keeps every version whole, shows new ones at once, and is never brought down by a bad file."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from vector_store import (
    CONDITIONS,
    SPANS,
    Count,
    CurvePoint,
    PersonaVector,
    PoleChoice,
    Span,
    VectorHeader,
    VectorStore,
)
from vector_store.files import decode
from vector_store.store import slug


def make_vector(
    model_id: str = "org/model",
    trait: str = "silly",
    created: str = "2026-01-02T03:04:05+00:00",
    seed: int = 0,
    spans: tuple[Span, ...] = SPANS,
    n_layers: int = 3,
    hidden_size: int = 5,
    **changes: Any,
) -> PersonaVector:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    fields: dict[str, Any] = dict(
        model_id=model_id,
        fingerprint="f" * 16,
        trait=trait,
        positive="silly",
        negative="serious",
        n_layers=n_layers,
        hidden_size=hidden_size,
        created=created,
        software_version="1.2.3",
        method="means",
        counts={"positive": Count(made=10, kept=8)},
        separation={span: [0.5] * n_layers for span in spans},
        poles={
            "positive": PoleChoice(
                block=1, span=spans[0], positions="response", relative_dose=0.7, measured_range=(0.0, 1.5), score=0.9
            ),
            "negative": PoleChoice(block=0, span=spans[-1], positions="last_prompt", relative_dose=0.35),
        },
        curve=[
            CurvePoint(
                side="positive",
                kind="unsteered",
                block=None,
                span=None,
                positions=None,
                relative_dose=0.0,
                trait=3.0,
                coherence=99.0,
                score=0.03,
                n=40,
            )
        ],
        means={span: {condition: normal(n_layers, hidden_size) for condition in CONDITIONS} for span in spans},
        residual_norms={span: np.abs(normal(n_layers)) + 1 for span in spans},
    )
    return PersonaVector(**(fields | changes))


def header_of(vector: PersonaVector, vector_id: str) -> VectorHeader:
    values = {field.name: getattr(vector, field.name) for field in dataclasses.fields(VectorHeader)}
    return VectorHeader(**{**values, "id": vector_id})


def assert_same_arrays(one: PersonaVector, other: PersonaVector) -> None:
    assert set(one.means) == set(other.means)
    for span, means in one.means.items():
        np.testing.assert_array_equal(one.residual_norms[span], other.residual_norms[span])
        for condition, array in means.items():
            np.testing.assert_array_equal(array, other.means[span][condition])


@given(
    model_id=st.text(min_size=1, max_size=60),
    trait=st.text(min_size=1, max_size=30),
    n_layers=st.integers(2, 4),
    hidden_size=st.integers(1, 9),
    spans=st.sampled_from([("response",), ("last_prompt", "response")]),
)
@settings(max_examples=40, deadline=None)
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
    read = store.latest(model_id, trait)

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
    assert store.latest("../../outside", "../up") is not None


def test_models_whose_names_share_a_folder_keep_their_own_vectors(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    first = store.save(make_vector("org/model", seed=1))
    second = store.save(make_vector("org--model", seed=2))

    assert [header.id for header in store.list("org/model")] == [first]
    assert [header.id for header in store.list("org--model")] == [second]
    assert_same_arrays(store.latest("org/model", "silly"), make_vector(seed=1))  # type: ignore[arg-type]


def test_latest_is_the_newest_by_creation_whatever_folder_it_lies_in(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    old = VectorStore([own]).save(make_vector(created="2026-01-01T00:00:00+00:00"))
    new = VectorStore([shipped]).save(make_vector(created="2026-02-01T00:00:00+00:00"))
    store = VectorStore([own, shipped])

    latest = store.latest("org/model", "silly")
    assert latest is not None and latest.id == new
    assert [header.id for header in store.list()] == [new, old]
    assert VectorStore([tmp_path / "nowhere"]).list() == []
    assert store.latest("org/model", "unknown") is None
    assert store.list("unknown") == []


def test_latest_for_weights_passes_over_newer_vectors_of_others(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    mine = store.save(dataclasses.replace(make_vector(), fingerprint="mine"))
    theirs = store.save(dataclasses.replace(make_vector(created="2027-01-01T00:00:00+00:00"), fingerprint="theirs"))
    found = {name: store.latest("org/model", "silly", name) for name in ("mine", "theirs", "nobody's", None)}
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
    assert_same_arrays(store.latest("org/model", "silly"), vector)  # type: ignore[arg-type]
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_two_vectors_of_the_same_second_get_ids_of_their_own(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    assert len({store.save(make_vector(seed=seed)) for seed in range(5)}) == 5
    assert len(store.list()) == 5


def test_a_running_store_sees_new_changed_and_removed_files(tmp_path: Path) -> None:
    reader, writer = VectorStore([tmp_path]), VectorStore([tmp_path])
    assert reader.list() == [] and reader.latest("org/model", "silly") is None

    first = writer.save(make_vector(created="2026-01-01T00:00:00+00:00"))
    assert reader.latest("org/model", "silly").id == first  # type: ignore[union-attr]
    second = writer.save(make_vector(created="2026-01-02T00:00:00+00:00"))
    assert reader.latest("org/model", "silly").id == second  # type: ignore[union-attr]

    next(tmp_path.rglob(f"{second}.safetensors")).unlink()
    assert reader.latest("org/model", "silly").id == first  # type: ignore[union-attr]
    assert [header.id for header in reader.list()] == [first]


def test_a_folder_that_can_not_be_written_is_found_out_beforehand(tmp_path: Path) -> None:
    store = VectorStore([tmp_path / "deep" / "folder"])
    store.prepare()
    assert list((tmp_path / "deep" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        VectorStore([tmp_path / "file" / "folder"]).prepare()


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
            latest = store.latest("org/model", "silly")
            assert latest is not None and latest.id == good
    assert len(caplog.records) == 1
    assert str(path.parent) in caplog.text


def test_a_file_of_a_later_format_is_skipped_with_its_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = VectorStore([tmp_path])
    vector_id = store.save(make_vector())
    path = next(tmp_path.rglob(f"{vector_id}.safetensors"))
    path.write_bytes(path.read_bytes().replace(b'\\"format\\":1', b'\\"format\\":9'))

    assert store.list() == []
    assert "format 9" in caplog.text


def test_what_is_read_can_not_be_changed_by_mistake(tmp_path: Path) -> None:
    store = VectorStore([tmp_path])
    store.save(make_vector())
    latest = store.latest("org/model", "silly")
    assert latest is not None
    with pytest.raises(ValueError, match="read-only"):
        latest.means["response"]["neutral"][0] = 0


KILLED_WRITER = """
import dataclasses, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store import make_vector
from vector_store import VectorStore
store = VectorStore([Path(sys.argv[1])])
for seed in range(10**6):
    store.save(make_vector(seed=seed, n_layers=40, hidden_size=2000))
    if seed == 0:
        print("started", flush=True)
"""


def test_a_killed_writer_leaves_whole_files_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = [sys.executable, "-c", KILLED_WRITER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.15)
        writer.send_signal(signal.SIGKILL)

    paths = list(tmp_path.rglob("*.safetensors"))
    assert paths
    for path in paths:
        decode(path.read_bytes(), path.name)
    assert len(VectorStore([tmp_path]).list()) == len(paths)
    assert not caplog.records

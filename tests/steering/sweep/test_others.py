"""Which vectors stand beside a swept one as the wrong trait."""

import dataclasses
from pathlib import Path

from proxy.steering.sweep import other_traits
from tests.steering.sweep.swept import placed
from vector_store import VectorStore


def test_other_traits_when_vectors_are_of_another_kind_then_they_are_left_out(tmp_path: Path) -> None:
    store, vector = VectorStore([tmp_path]), placed(0.6)
    different: dict[str, dict[str, object]] = {
        "silly": {},  # another version of itself
        "warm": {},
        "brave": {},
        "imported": {"origin": "imported"},
        "unplaced": {"poles": {}},
        "stranger": {"fingerprint": "0" * 16},
    }
    for trait, changes in different.items():
        store.save(dataclasses.replace(vector, trait=trait, id="", **changes))  # type: ignore[arg-type]
    assert [other.trait for other in other_traits(store, vector)] == ["brave", "warm"]

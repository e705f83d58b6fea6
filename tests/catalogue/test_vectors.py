"""The vectors that ship for known models: each is for a model with a name, placed, scored and with its curve."""

from proxy.catalogue.known import KNOWN
from proxy.settings import KNOWN_FOLDER, Settings
from vector_store import SIDES, VectorStore

FOLDER = KNOWN_FOLDER / "vectors"
HEADERS = VectorStore([FOLDER]).list()


def test_the_shipped_vectors_when_read_then_each_is_of_a_known_model_and_measured() -> None:
    assert len(HEADERS) == len(list(FOLDER.rglob("*.safetensors"))) > 0
    for header in HEADERS:
        assert header.model_id in KNOWN and header.origin == "native" and header.scored
        assert set(header.poles) == set(header.sweeps) == set(SIDES)
        for sweep in header.sweeps.values():
            assert {"unsteered", "steered", "random", "prompt"} <= {point.kind for point in sweep.points}
            assert not sweep.verdict.startswith("what was"), "how 1 was set is told in older words"


def test_the_shipped_vectors_when_models_are_served_then_they_are_looked_for() -> None:
    assert FOLDER in Settings().vector_folders

"""A shipped vector swept in the model it is for: the pole rises with the coefficient, facts stay right."""

from pathlib import Path

import pytest

from proxy.demo import gguf
from proxy.engines.registry import load_engine
from proxy.settings import demo_models
from proxy.steering.sweep import SweepOptions, sweep
from proxy.steering.traits.trait import load_traits
from proxy.steering.work import Work
from tests.steering.pretend import no_progress
from vector_store import SweepKind, VectorStore


def test_sweep_when_a_shipped_vector_is_measured_then_it_steers_and_its_controls_do_not() -> None:
    engine = load_engine(demo_models()[0], 32)
    try:
        vector = VectorStore([Path(gguf.__file__).parent / "vectors"]).in_use(
            engine.info.id, "silly", engine.info.fingerprint
        )
        assert vector is not None
        options = SweepOptions((0.5, 1.0), samples=1)
        swept = sweep(engine, load_traits()["silly"], vector, "rules", options, Work(no_progress)).sweeps["positive"]
    finally:
        engine.close()

    def shown(kind: SweepKind) -> list[float]:
        return [point.trait.mean for point in swept.points if point.kind == kind and point.trait]

    assert swept.judge.scored and swept.factor is not None and 0.5 < swept.factor < 1.5
    low, high = shown("steered")
    assert shown("unsteered")[0] <= 10 < low < high and high >= 80 and shown("prompt")[0] >= 80
    assert max(shown("random")) <= 20
    assert all(point.correct and point.correct.mean >= 0.8 for point in swept.points if point.kind == "steered")
    assert swept.coherent_to * swept.factor == pytest.approx(1.0, abs=1e-3) and swept.collapse is None

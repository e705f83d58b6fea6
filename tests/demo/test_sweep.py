"""A shipped vector swept in the model it is for: the pole rises with the coefficient, facts stay right."""

from collections.abc import Callable

import pytest

from proxy.engines.base import Engine
from proxy.settings import DEMO_FOLDER
from proxy.steering.judge import rollouts
from proxy.steering.sweep import SweepOptions, sweep
from proxy.steering.traits.trait import load_traits
from proxy.steering.work import Work
from tests.demo.shipped import MANY
from tests.steering.pretend import no_progress
from vector_store import SweepKind, VectorStore


def test_sweep_when_a_shipped_vector_is_measured_then_it_steers_and_its_controls_do_not(
    engine_of: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(rollouts.USUAL_ASKING), "times", 1)  # rules are as sure of few answers
    engine = engine_of("demo-qwen2")
    vector = VectorStore([DEMO_FOLDER / "vectors"]).in_use(engine.info.id, "silly", engine.info.fingerprint)
    assert vector is not None
    options, work = SweepOptions((0.5, 1.0), samples=1), Work(no_progress, max_running=MANY)
    swept = sweep(engine, load_traits()["silly"], vector, "rules", options, work).sweeps["positive"]

    def shown(kind: SweepKind) -> list[float]:
        return [point.trait.mean for point in swept.points if point.kind == kind and point.trait]

    assert swept.judge.scored and swept.factor is not None and 0.5 < swept.factor < 1.5
    low, high = shown("steered")
    assert shown("unsteered")[0] <= 10 < low < high and high >= 80 and shown("prompt")[0] >= 80
    assert max(shown("random")) <= 20
    assert all(point.correct and point.correct.mean >= 0.8 for point in swept.points if point.kind == "steered")
    assert swept.coherent_to * swept.factor == pytest.approx(1.0, abs=1e-3) and swept.collapse is None

"""`persona-proxy plan`: what making, measuring and carrying vectors will take, before anything is made."""

import dataclasses

import pytest

from proxy.cli import main as cli
from proxy.engines.base import ModelInfo
from proxy.steering.cost import measure_speed
from proxy.steering.forecast import forecasts, n_rollouts
from proxy.steering.making import ExtractionOptions
from tests.cli.test_sweep import Pretended, failed, store
from tests.steering.pretend import HIDDEN, N_LAYERS, PretendEngine, make_trait
from vector_store import VectorStore

__all__ = ["store"]


def test_plan_then_each_piece_of_work_has_a_line_and_nothing_is_made(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "--model", "org/pretend"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"org/pretend: {N_LAYERS} blocks of {HIDDEN}, transformers on cpu, float32\n")
    for what in ("extract --budget quick", "sweep", "evaluate --budget thorough", "transfer fit", "transfer apply"):
        assert f"  {what} " in printed
    assert "tokens a second written" in printed and Pretended.closed == 1 and len(store.list()) == 1


def test_plan_when_the_model_runs_elsewhere_or_there_is_no_such_trait_then_one_line_says_so(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", "--trait", "sily"]) == 2
    assert "--trait: there is no trait 'sily'" in failed(capsys) and Pretended.closed == 0

    class Elsewhere(Pretended):
        @property
        def info(self) -> ModelInfo:
            return dataclasses.replace(super().info, in_words=True)

    monkeypatch.setattr("proxy.engines.registry.load_engine", lambda settings, max_batch: Elsewhere())
    assert cli.main(["plan", "--model", "org/pretend"]) == 2
    assert "--model: org/pretend runs on another server" in capsys.readouterr().err


def test_forecasts_when_the_model_is_larger_then_memory_and_disk_grow_with_its_shape() -> None:
    speed = measure_speed(PretendEngine(), make_trait())
    small = PretendEngine().info
    large = dataclasses.replace(small, n_layers=28, hidden_size=3584)
    for one, other in zip(
        *(list(forecasts(info, make_trait(), "likelihood", speed)) for info in (small, large)), strict=True
    ):
        assert one.what == other.what and 0 < one.disk < other.disk and one.memory <= other.memory
        assert other.seconds >= one.seconds > 0
    quick = next(forecasts(large, make_trait(), "likelihood", speed))
    assert quick.memory == 4 * 2 * 28 * 3584 * n_rollouts(ExtractionOptions(budget="quick"))
    assert quick.disk == 4 * 2 * 3 * 28 * 3584


def test_rollouts_then_as_many_as_a_vector_is_made_of() -> None:
    assert n_rollouts(ExtractionOptions(rollouts=2, questions=4)) == 5 * 4 * 2 * 3
    assert n_rollouts(ExtractionOptions(budget="quick")) == 18 * 5

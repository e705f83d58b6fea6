"""Steps over fixed, refilled buffers say what plain steps say; a recording that fails is done without.

What records is replaced by repeating the step, since that needs a GPU: everything else is as on one.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.base import Generation, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.transformers import graphs
from proxy.engines.transformers.batch import DecodingBatch
from proxy.engines.transformers.engine import TransformersEngine, load
from proxy.engines.transformers.graphs import DecodeGraphs, Record, Step
from proxy.engines.transformers.hooks import Site, SteeringTable, layout_of, widened
from proxy.settings import ModelSettings
from tests.engines.conftest import LoadEngine
from tests.engines.tiny_models import save_tiny_model
from tests.engines.transformers.test_steering import HIDDEN, PLANS, prompts


def engine_that_records(folder: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> TransformersEngine:
    init = DecodingBatch.__init__

    def with_graphs(self: DecodingBatch, *args: object) -> None:
        init(self, *args)  # type: ignore[arg-type]
        self._graphs = DecodeGraphs(self._runner, self._max_rows, record)

    monkeypatch.setattr(DecodingBatch, "__init__", with_graphs)
    monkeypatch.setattr(graphs, "MIN_SEEN", 8)
    monkeypatch.setattr(graphs, "MIN_LENGTH", 8)
    return load(ModelSettings(id="tiny", source=str(folder)), 16)


def generations(engine: TransformersEngine) -> list[Generation]:
    """Long and short ones, each with another plan, so that rows, lengths and steered blocks all change."""
    return [
        Generation(prompt, Sampling(4 + 3 * index, temperature=0.9, seed=index), plan)
        for index, (prompt, plan) in enumerate(zip(prompts(engine), PLANS, strict=True))
    ]


# What a recording knows of a family is its cache: whole, or of a window in some blocks or all; and how experts choose.
@pytest.mark.parametrize("family", ["qwen2", "mistral", "gemma3", "gpt-oss"])
def test_answers_when_steps_are_recorded_then_are_the_same(
    family: str, models_folder: Path, engine_of: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_recorded, folder = 0, save_tiny_model(family, models_folder / family)

    def record(step: Step) -> Step:
        nonlocal n_recorded
        n_recorded += 1
        return step

    expected = generate_all(engine_of(folder), generations(engine_of(folder)))
    recording = engine_that_records(folder, record, monkeypatch)
    for _ in range(2):
        assert generate_all(recording, generations(recording)) == expected
    first_time = n_recorded
    generate_all(recording, generations(recording))
    assert 0 < first_time == n_recorded
    recording.close()


def broken(step: Step) -> Step:
    raise RuntimeError("operation not permitted while recording")


def off_by_much(step: Step) -> Step:
    return lambda: step() + 3


@pytest.mark.parametrize("record", [broken, off_by_much])
def test_a_recording_when_it_fails_or_is_wrong_then_answers_are_made_without(
    record: Record,
    qwen2: Path,
    engine_of: LoadEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = generate_all(engine_of(qwen2), generations(engine_of(qwen2)))
    engine = engine_that_records(qwen2, record, monkeypatch)
    assert generate_all(engine, generations(engine)) == expected
    assert len([line for line in caplog.messages if "no CUDA graphs" in line]) == 1
    engine.close()


@given(st.lists(st.sampled_from(PLANS), min_size=1, max_size=4), st.lists(st.sampled_from(PLANS), max_size=3))
@settings(max_examples=40)
def test_a_table_when_it_has_room_for_more_then_it_does_what_its_rows_want(plans: list[Plan], more: list[Plan]) -> None:
    rows = [plan.interventions for plan in plans]
    hidden = torch.randn(len(rows), 1, HIDDEN)
    layout = widened(layout_of([plan.interventions for plan in more]), layout_of(rows))
    table = SteeringTable.of_rows([()] * len(rows), layout, HIDDEN, hidden.device)
    table.refill(SteeringTable.of_rows(rows, layout, HIDDEN, hidden.device))
    sites = [Site(row, 0, interventions) for row, interventions in enumerate(rows)]
    for block in layout:
        mine, expected = hidden.clone(), hidden.clone()
        for action in table.actions[block]:
            action(mine)
        for action in SteeringTable.of_sites(sites, HIDDEN, hidden.device).actions.get(block, ()):
            action(expected)
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)
        for row, interventions in enumerate(rows):
            if all(item.block != block for item in interventions):
                assert torch.equal(mine[row], hidden[row])

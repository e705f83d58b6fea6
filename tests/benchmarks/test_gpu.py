"""The script for a GPU, on the CPU: it measures what it says, and its comparison can fail."""

import time

import pytest
import torch

from proxy.engines.transformers.engine import TransformersEngine
from tests.benchmarks import gpu

VOCABULARY = gpu.TINY["vocab_size"]


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return gpu.made_engine(gpu.TINY, torch.device("cpu"), 2)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"TOKENS": 4, "COMPARED": 4, "COMPARED_TOKENS": 12}.items():
        monkeypatch.setattr(gpu, name, size)


def test_decoding_when_measured_then_every_way_has_a_speed_of_each_round(engine: TransformersEngine) -> None:
    speeds = gpu.measured_decoding(engine, VOCABULARY, [1, 2], 1, time.perf_counter())
    assert list(speeds) == ["1", "2"]
    for ways in speeds.values():
        assert list(ways) == list(gpu.WAYS)
        assert all(len(found) == 1 and found[0] > 0 for found in ways.values())


def test_comparison_when_steps_are_the_same_then_equal_and_steering_did_something(engine: TransformersEngine) -> None:
    assert gpu.compared(engine, VOCABULARY) == {"equal": 1, "largest_difference": 0, "steered": 1}


def test_plans_when_all_different_then_no_two_are_alike_and_one_persona_is_one(engine: TransformersEngine) -> None:
    def plans(way: str) -> set[str]:
        return {each.plan.fingerprint for each in gpu.generations(engine.info, VOCABULARY, way, 6, 1)}

    assert [len(plans(way)) for way in gpu.WAYS] == [1, 1, 1, 6, 6]
    assert plans("unsteered") != plans("one persona")

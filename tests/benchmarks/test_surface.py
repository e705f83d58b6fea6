"""The measurement of surfaces: what it counts and tells, not how fast anything is."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from proxy.settings import Settings
from tests.benchmarks import lean, records, surface
from tests.benchmarks.client import BenchmarkError
from tests.benchmarks.models import TINY_GGUF
from tests.benchmarks.records import Machine, Results, SurfaceResult, SurfaceServer
from tests.benchmarks.tables import render, surface_misses
from tests.fakes import FakeEngine, serving

MACHINE = Machine("Some CPU", 2, None)


def result(answers: float = 600.0, ms: float = 0.5) -> SurfaceResult:
    servers = [
        SurfaceServer("ours", [answers, answers], [ms, ms]),
        SurfaceServer("llama-cpp-python", [100.0, 100.0], [2.0, 3.0]),
        SurfaceServer("transformers", failure="it is not installed\nin detail"),
    ]
    return SurfaceResult(date="d", versions={}, at_once=32, whole_tokens=8, stream_tokens=64, servers=servers)


@pytest.mark.anyio
async def test_surface_when_measured_then_rounds_of_ours_and_why_another_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    made = dataclasses.replace(TINY_GGUF, prepare=lambda model, cache: TINY_GGUF.prepare(model, tmp_path))

    def missing() -> Any:
        raise BenchmarkError("it is not installed")

    monkeypatch.setattr(surface, "TINY_GGUF", made)
    monkeypatch.setattr(surface, "CONTENDERS", {"ours": surface.ours, "transformers": missing})
    monkeypatch.setattr(surface, "OTHERS", tmp_path)
    amount = surface.Amount(rounds=2, whole=3, streams=2)
    ours, other = (await surface.measure_surface(["ours", "transformers"], amount, lambda *what: None)).servers
    assert len(ours.requests_per_s) == len(ours.ms_per_token) == 2 and min(*ours.requests_per_s, *ours.ms_per_token) > 0
    assert (other.requests_per_s, other.failure) == ([], "it is not installed")


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_lean_client_when_an_answer_is_not_what_was_asked_for_then_an_error(
    settings: Settings, stream: bool
) -> None:
    body = {"messages": [{"role": "user", "content": "!forever"}], "max_tokens": 3, "stream": stream}
    with serving(settings, FakeEngine()) as url:
        await lean.send(url, [body] * 5, 2)
        with pytest.raises(BenchmarkError, match="not an answer that was cut off"):
            await lean.send(url, [{**body, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 99}], 1)
        with pytest.raises(BenchmarkError, match="http/1.1 404"):
            await lean.send(url, [{**body, "model": "none"}], 1)


def test_table_then_medians_ratios_of_rounds_and_what_was_not_measured(tmp_path: Path) -> None:
    measured = Results(MACHINE, surface=result())
    shown = render([measured])
    assert "| ours | 600 |  | 0.500 |  |" in shown
    assert "| `llama_cpp.server` | 100 | 6.000 (6.000 to 6.000) | 2.500 | 5.000 (4.000 to 6.000) |" in shown
    assert "| `transformers serve` | not measured: it is not installed |" in shown
    records.write(tmp_path / "machine.json", measured)
    assert records.read_all(tmp_path) == [measured]


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (result(), []),
        (result(answers=400), ["whole answers per second are 4.0 times those of `llama_cpp.server`, not 5"]),
        (result(ms=1.5), ["a token of a stream costs 1.500 ms, not below 1"]),
    ],
)
def test_misses_then_named(measured: SurfaceResult, told: list[str]) -> None:
    assert list(surface_misses(measured)) == told

"""The measurement beside llama-server: what it counts and tells, not how fast anything is."""

import dataclasses
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import native, records
from tests.benchmarks.contenders import ours
from tests.benchmarks.models import TINY_GGUF, BenchmarkModel, Prepared
from tests.benchmarks.native_tables import native_misses, slower
from tests.benchmarks.records import Machine, NativeDelay, NativeLoad, NativeResult, NativeStart, Results
from tests.benchmarks.servers import Server
from tests.benchmarks.tables import render

OURS, OTHER = NativeStart([3.0, 3.0], [500.0, 500.0]), NativeStart([1.5, 1.5], [400.0, 400.0])


def result(unsteered: float = 96.0, mixed: float = 95.0) -> NativeResult:
    return NativeResult(
        model="m",
        about="blocks",
        date="d",
        versions={},
        threads=2,
        tokens=64,
        loads=[NativeLoad(8, "short", [unsteered, unsteered + 2], [mixed, mixed + 2], [100.0, 100.0])],
        cold_s={"ours": [1.0, 1.2], "llama-server": [1.0, 1.0]},
        warm_s={"ours": [0.1, 0.1], "llama-server": [0.2, 0.2]},
        starts={"ours": OURS, "llama-server": OTHER},
        delays=[NativeDelay("the next turn", [0.2, 0.4], [0.3, 0.3], [0.2, 0.2])],
    )


@pytest.mark.anyio
@pytest.mark.timeout(300)  # it starts four servers
async def test_native_when_measured_then_each_load_has_rounds_of_both_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    model = dataclasses.replace(TINY_GGUF, prepare=lambda model, cache: TINY_GGUF.prepare(model, tmp_path))

    def other(model: BenchmarkModel, prepared: Prepared) -> Server:
        return dataclasses.replace(ours(model, prepared, "cpu"), name="llama-server")

    monkeypatch.setattr(native, "llama_server", other)
    for name, size in {"LONG": 2, "TURNS": 2, "TURN_TOKENS": 4, "CROWD": 2}.items():
        monkeypatch.setattr(native, name, size)
    amount = native.Amount(rounds=2, tokens=4, streams=(2,), starts=1)
    found = await native.measure_native(model, 1, amount, lambda *what: None)
    assert [(load.prompt, load.streams) for load in found.loads] == [("short", 2), ("long", 2)]
    rounds = [each for load in found.loads for each in (load.unsteered, load.mixed, load.other)]
    rounds += [*found.cold_s.values(), *found.warm_s.values()]
    rounds += [each for delay in found.delays for each in (delay.unsteered, delay.mixed, delay.other)]
    assert len(found.delays) == len(native.DELAYS)
    assert all(len(each) == 2 and min(each) > 0 for each in rounds)
    starts = [each for start in found.starts.values() for each in (start.ready_s, start.resident_mb)]
    assert all(len(each) == 1 and min(each) > 0 for each in starts)


def test_llama_server_when_it_is_not_there_then_the_command_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = dataclasses.replace(TINY_GGUF, prepare=lambda model, cache: Prepared(tmp_path, tmp_path, ()))
    monkeypatch.setattr(command, "NATIVE", {"tiny": here})
    monkeypatch.setenv("LLAMA_SERVER", str(tmp_path / "nothing"))
    assert command.main(["native", "--quick"]) == 0
    assert "tiny beside llama-server: not measured: llama-server is not there" in capsys.readouterr().out


def test_table_then_ratios_of_rounds_and_what_starting_takes(tmp_path: Path) -> None:
    measured = Results(Machine("Some CPU", 2, None), native=[result()])
    shown = render([measured])
    assert "| short | 8 | 0.97 (0.96 to 0.98) | 0.96 (0.95 to 0.97) | 0.99 (0.99 to 0.99) |" in shown
    assert "| first token of a prompt of a thousand tokens, ms | 1,100 | 1,000 | 1.10 (1.00 to 1.20) |" in shown
    assert "| from the command to the first short answer, s | 3.00 | 1.50 | 2.00 (2.00 to 2.00) |" in shown
    assert "| the next turn | 300, 1.50 (1.00 to 2.00) | 300, 1.50 (1.50 to 1.50) | 200 |" in shown
    records.write(tmp_path / "machine.json", measured)
    assert records.read_all(tmp_path) == [measured]


def test_misses_then_named() -> None:
    assert list(native_misses(result())) == []
    assert list(native_misses(result(unsteered=90.0, mixed=80.0))) == [
        "m, 8 at once, short prompts: 0.91 of llama-server's speed, not 0.95",
        "m, 8 at once, short prompts: 0.89 of the unsteered speed when all are steered differently, not 0.98",
    ]


def test_a_ratio_when_it_is_much_lower_than_the_one_kept_then_it_is_told() -> None:
    assert list(slower(result(), result(unsteered=93.0))) == list(slower(None, result())) == []
    assert list(slower(result(), result(unsteered=80.0))) == [
        "m, 8 at once, short prompts, unsteered: 0.97 became 0.81"
    ]

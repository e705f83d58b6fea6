"""`persona-proxy transfer evaluate`: what it prints and writes, and one line for every mistake."""

from pathlib import Path

import pytest

from proxy.cli import main as cli
from proxy.settings import ModelSettings
from proxy.steering.judge import Validated
from proxy.steering.transfer import evaluations
from proxy.steering.transfer.arms import EvaluationOptions
from tests.steering.pretend import PretendEngine, PretendJudge
from tests.steering.transfer.planted import TRAITS, planted_store, planted_transfer

PAIR = ("--source", "org/source", "--target", "org/pretend")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """With a transfer and the vectors of both models."""
    for name in ("vectors", "traits", "jobs", "transfers"):
        monkeypatch.setenv(f"PERSONA_PROXY_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setattr("proxy.steering.traits.trait.Traits.current", TRAITS)
    monkeypatch.setattr("proxy.steering.traits.trait.load_traits", lambda: TRAITS)
    monkeypatch.setattr(
        "proxy.steering.judge.prepare", lambda *args, **how: Validated(PretendJudge(), "counting", 1.0, 80)
    )
    monkeypatch.setattr("proxy.engines.registry.load_engine", lambda settings, max_batch: PretendEngine())
    planted_transfer(tmp_path / "transfers")
    planted_store(tmp_path / "vectors")
    return tmp_path


def run(*arguments: str) -> int:
    return cli.main(["transfer", "evaluate", *PAIR, "--samples", "1", *arguments])


def failed(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line, which is the only one of a mistake."""
    error = capsys.readouterr().err
    assert error.count("persona-proxy: ") == 1 and error.endswith("\n"), error
    return error.splitlines()[-1]


def test_evaluate_then_tables_are_printed_and_written_with_their_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", str(folder / "report")) == 0
    printed = capsys.readouterr().out
    (found,) = evaluations.read_report(folder / "report")
    assert (found.source, found.target, found.transfer) == ("org/source", "org/pretend", "transfer-planted")
    assert found.options == EvaluationOptions(samples=1) and len(found.poles) == 4
    assert printed.startswith("## org/source to org/pretend") and printed.strip() in (
        folder / "report" / evaluations.PAGE
    ).read_text("utf-8")
    assert not list((folder / "jobs" / "parts").iterdir())  # nothing is left to go on with


def test_evaluate_when_one_trait_is_asked_for_then_the_source_s_other_ones_are_the_wrong_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--trait", "silly", "--out", str(folder / "report")) == 0
    (found,) = evaluations.read_report(folder / "report")
    assert [pole.pole for pole in found.poles] == ["silly", "serious"]
    for pole in found.poles:
        kinds = {arm.kind for arm in pole.arms}
        assert "wrong_trait" in kinds and not kinds & {"native_by_others", "transferred_by_others"}
        assert pole.placed_by_others is None and pole.recovery_by_others is None
    printed = capsys.readouterr().out
    assert "- place and dose by the other traits, of silly, serious" in printed and "All of it came" not in printed


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--trait", "sily"], "--trait: there is no trait 'sily'; possible: silly, merry"),
        (["--samples", "0"], "samples must be from 1"),
        (["--transfer", "transfer-x"], "There is no transfer 'transfer-x' from org/source to org/pretend"),
        (["--source", "org/other"], "There is no transfer from org/other to org/pretend; persona-proxy transfer fit"),
        (["--target", "./nowhere"], "no such model folder"),
        (["--judge", "nobody"], "--judge: there is no judge 'nobody'"),
    ],
)
def test_evaluate_when_a_flag_is_wrong_then_one_line_says_so(
    flags: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*flags) == 2
    assert expected in failed(capsys)


def test_evaluate_when_interrupted_then_the_same_command_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[int] = []
    begin = PretendEngine.start

    def interrupted(self: PretendEngine, *args: object) -> object:
        started.append(1)
        if len(started) == 600:
            raise KeyboardInterrupt
        return begin(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(PretendEngine, "start", interrupted)
    assert run() == 130
    assert "broken off; the same command goes on from here" in capsys.readouterr().err
    n_before = len(started)
    assert run() == 0
    assert "going on where an earlier run was broken off" in capsys.readouterr().err
    n_resumed = len(started) - n_before
    assert run("--fresh") == 0
    assert n_resumed < len(started) - n_before - n_resumed


def test_evaluate_then_settings_and_flags_reach_the_model(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    loaded: list[ModelSettings] = []

    def load(settings: ModelSettings, max_batch: int) -> PretendEngine:
        loaded.append(settings)
        return PretendEngine()

    monkeypatch.setattr("proxy.engines.registry.load_engine", load)
    assert run("--device", "cpu", "--dtype", "float32", "--trait", "silly") == 0
    (model,) = loaded  # the source is not needed
    assert (model.id, model.device, model.dtype) == ("org/pretend", "cpu", "float32")

"""`persona-proxy evaluate`: what it prints, keeps and writes, and one line for every mistake."""

from pathlib import Path

import pytest

from proxy.cli import main as cli
from proxy.steering.evaluation.report import FIGURES, PAGE, read_evaluations
from tests.cli.test_sweep import Pretended, failed, store
from tests.steering.sweep.swept import placed
from vector_store import VectorStore

__all__ = ["store"]
QUICK = ("--model", "org/pretend", "--budget", "quick", "--samples", "1")


@pytest.fixture(autouse=True)
def _no_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.steering.limited.rollouts", lambda *args, **how: ([], []))


def test_evaluate_then_tables_are_printed_and_written_and_the_verdict_is_kept(
    store: VectorStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["evaluate", *QUICK, "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr()
    (vector,) = [header for header in store.list() if header.evaluations]
    assert vector.parent == "silly-placed" and Pretended.closed == 1
    assert ", budget quick" in printed.err and "written:" in printed.err
    for part in (
        "### silly: steers",
        "**steered at 1**",
        "system prompt and vector at 1",
        "facts right",
        "second turn",
    ):
        assert part in printed.out, part
    page = (tmp_path / "report" / PAGE).read_text("utf-8")
    assert printed.out.strip() in page and "- *plain evaluate 10?* ha" in page
    (found,) = read_evaluations(tmp_path / "report")
    assert found.id == vector.id and found.evaluations == vector.evaluations
    assert len(list((tmp_path / "report" / FIGURES).iterdir())) == 1
    assert cli.main(["vectors", "show", vector.id]) == 0
    assert "verdict on silly: steers (at coefficient 1" in capsys.readouterr().out
    assert cli.main(["vectors", "show", "silly-placed"]) == 0
    assert "verdict on silly, serious: not evaluated; persona-proxy evaluate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--trait", "sily"], "--trait: there is no trait 'sily'; possible: merry, silly"),
        (["--samples", "0"], "samples must be from 1"),
        (["--seed", "-1"], "the seed must not be negative"),
        (["--judge", "nobody"], "--judge: there is no judge 'nobody'"),
        (["--second-judge", "nobody"], "--second-judge: there is no judge 'nobody'"),
        (["--judge", "model", "--second-judge", "model"], "--second-judge: it is the first judge too"),
        (["--model", "./nowhere"], "--model: no such model folder"),
    ],
)
def test_evaluate_when_a_flag_is_wrong_then_nothing_is_loaded(
    flags: list[str], expected: str, store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", *flags]) == 2
    assert expected in failed(capsys) and Pretended.closed == 0


def test_evaluate_when_the_model_has_no_vector_then_it_is_told_how_to_make_one(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.delete("org/pretend", "silly", placed(0.6).id)
    assert cli.main(["evaluate", *QUICK]) == 2
    assert "org/pretend has no vectors: persona-proxy extract --model org/pretend" in capsys.readouterr().err
    assert cli.main(["evaluate", *QUICK, "--trait", "silly"]) == 2
    assert "org/pretend has no vector for silly" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
def test_a_model_s_vectors_when_it_is_here_and_has_none_then_that_is_told_before_it_is_loaded(
    command: str, store: VectorStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF and more")
    assert cli.main([command, "--model", f"org/pretend={file}", "--trait", "silly"]) == 2
    expected = "org/pretend has no vector for silly: persona-proxy extract --model org/pretend --trait silly --budget"
    assert expected in failed(capsys)
    if command == "evaluate":
        assert cli.main([command, "--model", f"org/pretend={file}"]) == 2
        assert "org/pretend has no vectors: persona-proxy extract" in failed(capsys)

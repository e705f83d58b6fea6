"""`persona-proxy compare`: what it prints, and one line for every mistake."""

import pytest

from proxy.cli import main as cli
from tests.cli.test_sweep import Pretended, failed, store
from vector_store import VectorStore

__all__ = ["store"]
QUICK = ("--model", "org/pretend", "--trait", "silly")


@pytest.fixture(autouse=True)
def _no_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.steering.limited.rollouts", lambda *args, **how: ([], []))


def test_compare_then_a_table_for_each_pole_and_nothing_is_saved(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.list()
    assert cli.main(["compare", *QUICK, "--coefficient", "1.5"]) == 0
    printed = capsys.readouterr().out
    assert "At 1.5, in org/pretend; judged by a pretend judge, AUROC 1.00" in printed
    assert printed.count("| not steered | 10 |") == 2 and "| serious | answers |" in printed
    assert store.list() == before and Pretended.closed == 1


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--trait", "sily"], "--trait: there is no trait 'sily'"),
        (["--trait", "silly", "--coefficient", "0"], "--coefficient: 0 is out of range; possible: above 0, up to 2"),
        (["--trait", "silly", "--coefficient", "nan"], "--coefficient: nan is out of range"),
        (["--trait", "silly", "--samples", "0"], "samples must be from 1"),
        (["--trait", "silly", "--judge", "nobody"], "--judge: there is no judge 'nobody'"),
    ],
)
def test_compare_when_a_flag_is_wrong_then_nothing_is_loaded(
    flags: list[str], expected: str, store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "--model", "org/pretend", *flags]) == 2
    assert expected in failed(capsys) and Pretended.closed == 0


def test_compare_when_the_model_has_no_vector_then_it_is_told_how_to_make_one(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "--model", "org/pretend", "--trait", "merry"]) == 2
    assert "org/pretend has no vector for merry: persona-proxy extract" in capsys.readouterr().err

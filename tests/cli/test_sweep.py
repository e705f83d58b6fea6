"""`persona-proxy sweep`: what it prints and saves, and one line for every mistake."""

import json
from pathlib import Path

import pytest

from proxy.cli import main as cli
from proxy.settings import ModelSettings
from proxy.steering.judge import JudgeKind
from proxy.steering.sweep.asked import all_listed
from proxy.steering.sweep.options import SweepOptions
from proxy.steering.work import Work
from tests.steering.pretend import PretendEngine, make_trait
from tests.steering.sweep.swept import PERFECT, placed
from vector_store import PersonaVector, VectorStore

QUICK = ("--model", "org/pretend", "--from", "-1", "--to", "1", "--step", "0.5", "--samples", "1")


class Pretended(PretendEngine):
    closed = 0

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> VectorStore:
    """With a vector of the pretend model for one of its two traits."""
    for name in ("VECTORS", "TRAITS", "JOBS"):
        monkeypatch.setenv(f"PERSONA_PROXY_{name}_DIR", str(tmp_path / name.lower()))
    traits = {"merry": make_trait("merry", "merry", "glum"), "silly": make_trait()}
    monkeypatch.setattr("proxy.steering.traits.trait.Traits.current", traits)
    monkeypatch.setattr("proxy.steering.judge.prepare", lambda *args, **how: PERFECT)
    monkeypatch.setattr("proxy.engines.registry.load_engine", lambda settings, max_batch: Pretended())
    monkeypatch.setattr(Pretended, "closed", 0)
    store = VectorStore([tmp_path / "vectors"])
    store.save(placed(0.6))
    return store


def failed(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a mistake."""
    error = capsys.readouterr().err
    assert error.startswith("persona-proxy: ") and error.count("\n") == 1, error
    return error


def swept(store: VectorStore) -> PersonaVector:
    (vector,) = [header for header in store.list() if header.sweeps]
    return store.get(vector.id)


def test_sweep_then_the_curve_is_printed_and_a_new_version_saved(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", "--trait", "silly", *QUICK]) == 0
    vector, printed = swept(store), capsys.readouterr().out
    assert vector.parent == "silly-placed" and len(store.list()) == 2 and Pretended.closed == 1
    for part in (f"silly / serious in org/pretend, saved as {vector.id}", "silly: relative dose", "system prompt"):
        assert part in printed
    assert cli.main(["vectors", "show", vector.id]) == 0
    assert vector.sweeps["positive"].verdict in capsys.readouterr().out


def test_sweep_when_json_is_asked_for_then_standard_output_is_nothing_else(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", "--trait", "silly", "--json", *QUICK]) == 0
    printed = capsys.readouterr()
    curve = json.loads(printed.out)
    assert curve["id"] == swept(store).id and set(curve["sweeps"]) == {"positive", "negative"}
    assert [point["kind"] for point in curve["sweeps"]["positive"]["points"]] == [
        *("unsteered", "steered", "steered", "random", "random", "prompt")
    ]
    assert "Loading" in printed.err


def test_sweep_when_flags_are_given_then_they_count(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[tuple[ModelSettings, SweepOptions, JudgeKind]] = []

    def load(settings: ModelSettings, max_batch: int) -> Pretended:
        given.append((settings, SweepOptions(), ""))
        return Pretended()

    def run(
        engine: object,
        trait: object,
        vector: object,
        kind: JudgeKind,
        options: SweepOptions,
        work: Work,
        others: list[PersonaVector],
    ) -> PersonaVector:
        given.append((given[0][0], options, kind))
        return placed(0.7)

    monkeypatch.setattr("proxy.engines.registry.load_engine", load)
    monkeypatch.setattr("proxy.jobs.kinds.sweeping.sweep", run)
    flags = ["--from", "0", "--to", "1", "--step", "0.5", "--samples", "2", "--seed", "7", "--judge", "model"]
    flags += ["--device", "cpu", "--dtype", "float32", "--out", str(tmp_path / "out")]
    assert cli.main(["sweep", "--trait", "silly", "--model", "org/pretend", *flags]) == 0
    model, options, kind = given[-1]
    assert (model.id, model.device, model.dtype) == ("org/pretend", "cpu", "float32")
    assert (options, kind) == (SweepOptions((0.0, 0.5, 1.0), 2, 7), "model")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--trait", "sily"], "--trait: there is no trait 'sily'; possible: merry, silly, all"),
        (["--trait", "silly", "--step", "0"], "no range of coefficients"),
        (["--trait", "silly", "--from", "-1e9"], "-1e+09 to 2 in steps of 0.25 is no range of coefficients"),
        (["--trait", "silly", "--samples", "0"], "samples must be from 1"),
        (["--trait", "silly", "--model", "./nowhere"], "--model: no such model folder"),
    ],
)
def test_sweep_when_a_flag_is_wrong_then_nothing_is_loaded(
    flags: list[str], expected: str, store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", *flags]) == 2
    assert expected in failed(capsys) and Pretended.closed == 0


def test_sweep_when_one_trait_has_no_vector_then_the_others_are_swept_and_it_is_told(
    store: VectorStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", "--trait", "all", *QUICK]) == 2
    printed = capsys.readouterr()
    assert "org/pretend has no vector for merry: persona-proxy extract" in printed.err
    assert swept(store).id in printed.out


def test_sweep_when_interrupted_then_it_says_how_to_go_on_and_does(
    store: VectorStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[int] = []
    begin = Pretended.start

    def interrupted(self: Pretended, *args: object) -> object:
        started.append(1)
        if len(started) == 140:  # of the first 128 all are kept
            raise KeyboardInterrupt
        return begin(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Pretended, "start", interrupted)
    assert cli.main(["sweep", "--trait", "silly", *QUICK]) == 130
    assert "silly: broken off; the same command goes on from here" in capsys.readouterr().out
    assert len(store.list()) == 1 and Pretended.closed == 1
    assert cli.main(["sweep", "--trait", "silly", *QUICK]) == 0
    n_answers = len(all_listed(SweepOptions((-1.0, -0.5, 0.5, 1.0), 1), wrong_trait=False))
    assert n_answers < len(started) <= n_answers + 1 + 2 * 32
    printed = capsys.readouterr().out
    assert "going on where an earlier run was broken off" in printed and swept(store).id in printed
    assert list((tmp_path / "jobs" / "parts").iterdir()) == []

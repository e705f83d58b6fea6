"""`persona-proxy transfer`: maps fitted, vectors carried across, and one line for every mistake."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from proxy.cli import main as cli
from proxy.engines.base import Engine
from proxy.jobs.kinds import vectors
from proxy.settings import ModelSettings
from proxy.steering import gain, placement
from proxy.steering.transfer import files
from proxy.steering.transfer.maps import Method
from tests.contract.test_jobs import Gated
from tests.steering.pretend import BEST_BLOCK, HIDDEN, N_LAYERS, PretendEngine, PretendJudge, hidden_direction
from tests.steering.transfer.pretend_pair import letter_model, word_model
from tests.steering.transfer.test_fit import source_vector
from vector_store import SIDES, VectorStore


def obedient() -> Gated:
    """The pretend model that knows the built-in trait's instructions."""
    engine = Gated()
    engine.go.set()
    return engine


ENGINES: dict[str, Callable[[], Engine]] = {"words": word_model, "letters": letter_model, "org/pretend": obedient}
PAIR = ("--source", "words=a/b", "--target")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where everything is kept: a folder for each kind of thing."""
    for name in ("vectors", "traits", "jobs", "transfers"):
        monkeypatch.setenv(f"PERSONA_PROXY_{name.upper()}_DIR", str(tmp_path / name))

    def load(model: ModelSettings, max_batch: int) -> Engine:
        return ENGINES[model.id]()

    monkeypatch.setattr("proxy.engines.registry.load_engine", load)
    monkeypatch.setattr(vectors, "default_kind", lambda info, trait: PretendJudge())
    monkeypatch.setattr(gain, "DOSES", (0.5, 1.0))
    monkeypatch.setattr(placement, "OTHER_COEFFICIENTS", (0.5, 2.0))
    monkeypatch.setattr(placement, "N_SAMPLES", 2)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a mistake."""
    capsys.readouterr()
    assert cli.main(["transfer", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("persona-proxy: ") and error.count("\n") == 1, error
    return error


def planted_transfer(folder: Path) -> files.TransferInfo:
    """From the word model to the pretend one: block 1's planted step becomes the pretend model's hidden direction."""
    step = source_vector().means["last_prompt"]["positive"][1]
    map_ = np.outer(step, hidden_direction()).astype(np.float32)
    info = files.MapInfo(
        span="last_prompt",
        source_block=1,
        target_block=BEST_BLOCK,
        method=Method("ridge", 0.1),
        r2=0.9,
        r2_shuffled=0.0,
        r2_by_kind={"ridge": 0.9},
        n_pairs=500,
        n_controls=0,
    )
    transfer = files.TransferInfo(
        id="planted",
        source=files.Side.of(word_model().info),
        target=files.Side.of(PretendEngine().info),
        created="2026-01-01T00:00:00+00:00",
        software_version="1",
        text="made up",
        corpus_sha256="",
        n_documents=10,
        seed=0,
        maps=[info],
        target_blocks=[BEST_BLOCK],
        screened={},
        words=[],
    )
    files.write_map(folder / "planted", info, map_, [])
    files.write_transfer(folder / "planted", transfer)
    return transfer


def test_fit_then_the_maps_are_told_about_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["transfer", "fit", *PAIR, "letters=a/b", "--documents", "90", "--blocks", "2,0"]) == 0
    shown = capsys.readouterr().out
    (info,) = files.transfers(folder / "transfers")
    assert info.id in shown and "block 1 to 2: " in shown and "(shuffled" in shown
    assert info.target_blocks == [0, 2] and list((folder / "jobs").rglob("*")) == [folder / "jobs" / "parts"]


def test_fit_when_only_an_estimate_is_wanted_then_nothing_is_fitted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["transfer", "fit", *PAIR, "letters=a/b", "--documents", "90", "--estimate"]) == 0
    shown = capsys.readouterr().out
    assert "documents; 3 maps for each span, from width 24 to 16, in 1 pass over the text" in shown
    assert "memory beyond the models: 0.1 GiB" in shown and "reading residuals of both: about 0 minutes" in shown
    assert not (folder / "transfers").exists()


def test_apply_then_a_placed_vector_is_saved_that_says_where_it_is_from(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer = planted_transfer(folder / "transfers")
    store = VectorStore([folder / "vectors"])
    store.save(source_vector())
    assert cli.main(["transfer", "apply", *PAIR, "org/pretend", "--trait", "silly"]) == 0
    assert "silly / serious in org/pretend, from words: saved as" in capsys.readouterr().out
    vector = store.in_use("org/pretend", "silly", PretendEngine().info.fingerprint)
    assert vector is not None and (vector.origin, vector.parent) == ("transferred", "silly-native")
    assert vector.transfer is not None and vector.transfer.id == transfer.id
    assert vector.transfer.maps[0].method == "ridge of strength 0.1" and vector.judge is not None
    for side in SIDES:
        assert vector.poles[side].block == BEST_BLOCK and (vector.poles[side].score or 0) > 0.4
    assert (vector.n_layers, vector.hidden_size) == (N_LAYERS, HIDDEN)
    assert cli.main(["vectors", "show", vector.id]) == 0
    shown = capsys.readouterr().out
    assert "transferred, made from silly-native" in shown and "from words by planted" in shown
    assert "last_prompt, block 1 to 1: 0.90 (of shuffled pairs 0.00), ridge of strength 0.1" in shown


def test_apply_when_within_a_budget_then_every_mapped_place_is_compared_and_answers_are_short(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted_transfer(folder / "transfers")
    store = VectorStore([folder / "vectors"])
    store.save(source_vector())
    engine = obedient()
    monkeypatch.setitem(ENGINES, "org/pretend", lambda: engine)
    assert cli.main(["transfer", "apply", *PAIR, "org/pretend", "--trait", "silly", "--budget", "quick"]) == 0
    vector = store.in_use("org/pretend", "silly", PretendEngine().info.fingerprint)
    assert vector is not None and vector.origin == "transferred" and vector.method.endswith("the budget quick")
    for side in SIDES:
        assert [gain.block for gain in vector.gains if gain.side == side] == [BEST_BLOCK]
        assert vector.poles[side].block == BEST_BLOCK
    assert {generation.sampling.max_tokens for generation in engine.started} == {40}


def test_apply_when_something_is_missing_then_one_line_says_what(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("apply", *PAIR, "org/pretend", "--trait", "silly")
    assert "no transfer from words to org/pretend" in refused(capsys, *arguments)
    planted_transfer(folder / "transfers")
    assert "words has no vector of its own for silly: persona-proxy extract" in refused(capsys, *arguments)
    assert "there is no trait 'sily'" in refused(capsys, *arguments[:-1], "sily")
    assert "no transfer 'other'" in refused(capsys, *arguments, "--transfer", "other")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*PAIR, "words=c/d"), "words is the source itself"),
        ((*PAIR, "letters=a/b", "--blocks", "1;2"), "--blocks: '1;2' must be block indices"),
        ((*PAIR, "letters=a/b", "--blocks", "9"), "letters has no block 9"),
        ((*PAIR, "letters=a/b", "--documents", "0"), "--documents must be at least 1"),
        ((*PAIR, "letters=a/b", "--answer-tokens", "7"), "--answer-tokens must be from 8 to 512, not 7"),
        ((*PAIR, "letters=a/b", "--documents", "2"), "too few for a map"),
        ((*PAIR, "letters=a/b", "--text", "nowhere.jsonl"), "nowhere.jsonl: can't be read"),
    ],
)
def test_fit_when_it_can_t_be_done_then_one_line_says_why(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused(capsys, "fit", *arguments)

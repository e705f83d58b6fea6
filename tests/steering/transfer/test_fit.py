"""A transfer fitted between two pretend models carries directions across; what can't work is refused at once."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Event, FloatArray, Generation, Run
from proxy.errors import NotFound, SetupError
from proxy.steering.measuring import own_residuals
from proxy.steering.traits.trait import load_traits
from proxy.steering.transfer import blocks, files
from proxy.steering.transfer.apply import carried, check
from proxy.steering.transfer.fit import Corpus, blocks_of, fit
from proxy.steering.transfer.pairs import Document
from proxy.steering.work import Work
from tests.steering.pretend import WORK, make_trait
from tests.steering.transfer.pretend_pair import MEANINGS, N_LAYERS, PairedEngine, letter_model, word_model
from vector_store import SIDES, SPANS, Condition, PersonaVector

TRAITS = load_traits()
ROLES = [f"You are person {number}." for number in range(30)]
QUESTIONS = [f"What is number {number}?" for number in range(4)]
CORPUS = Corpus([Document(role, question) for question, role in itertools.product(QUESTIONS, ROLES)], "made up")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfers")


@pytest.fixture(scope="module")
def transfer(folder: Path) -> files.TransferInfo:
    return fit(word_model(), letter_model(), CORPUS, TRAITS, folder, WORK)


def source_vector(shift: FloatArray | None = None) -> PersonaVector:
    """A vector of the word model: positive is a step along `shift`, float32[MEANINGS], from neutral, negative the same
    step back."""
    engine = word_model()
    shift = np.eye(MEANINGS, dtype=np.float32)[1] if shift is None else shift
    step = np.stack([shift @ engine.matrix(block) for block in range(N_LAYERS)])
    zero = np.zeros_like(step)
    means: dict[Condition, FloatArray] = {"neutral": zero, "positive": step, "negative": -step}
    return PersonaVector(
        model_id="words",
        fingerprint=engine.info.fingerprint,
        trait="silly",
        positive="silly",
        negative="serious",
        n_layers=N_LAYERS,
        hidden_size=24,
        created="2026-01-01T00:00:00+00:00",
        software_version="1",
        method="planted",
        id="silly-native",
        means={"last_prompt": means, "response": means},
        residual_norms={span: np.ones(N_LAYERS, np.float32) for span in SPANS},
    )


def test_fit_then_the_planted_blocks_are_found_and_explained(transfer: files.TransferInfo) -> None:
    assert [(m.span, m.target_block) for m in transfer.maps] == [
        (span, block) for span in SPANS for block in range(N_LAYERS)
    ]
    for span in SPANS:
        best = transfer.best(span)
        assert best is not None and (best.source_block, best.target_block) == (1, 2)
        assert best.r2 > 0.95 and best.r2_shuffled < 0.1
        assert transfer.screened[span][1][2] > 0.9


@pytest.mark.parametrize("side", SIDES)
def test_carried_then_the_direction_is_the_target_s_own_for_the_same_meaning(
    transfer: files.TransferInfo, folder: Path, side: str
) -> None:
    engine = letter_model()
    vector = source_vector()
    moved = carried(engine.info, vector, transfer, folder, own_residuals(engine, make_trait(), seed=0, work=WORK))
    expected = np.eye(MEANINGS, dtype=np.float32)[1] @ engine.matrix(2) * (1 if side == "positive" else -1)
    found = moved.direction(side, "last_prompt", 2)  # type: ignore[arg-type]
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.99
    assert np.linalg.norm(found) == pytest.approx(2.0, rel=1e-3)  # a residual norm: the map's own length is dropped
    assert (moved.origin, moved.parent, moved.model_id) == ("transferred", "silly-native", "letters")
    assert moved.transfer is not None and moved.transfer.id == transfer.id
    assert {(used.span, used.target_block) for used in moved.transfer.maps} == {
        (m.span, m.target_block) for m in transfer.maps
    }


def test_carried_when_with_a_control_then_it_leads_elsewhere(transfer: files.TransferInfo, folder: Path) -> None:
    engine = letter_model()
    own = own_residuals(engine, make_trait(), seed=0, work=WORK)
    moved = [carried(engine.info, source_vector(), transfer, folder, own, control) for control in (None, 1)]
    right, wrong = (vector.direction("positive", "last_prompt", 2) for vector in moved)
    assert abs(right @ wrong) < 0.8 * np.linalg.norm(right) * np.linalg.norm(wrong)


def test_fit_when_answers_are_to_be_short_then_no_longer_ones_are_asked_for_and_the_transfer_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Generation] = []

    def start(engine: PairedEngine, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        asked.append(generation)
        return usual(engine, generation, on_event)

    usual = PairedEngine.start
    monkeypatch.setattr(PairedEngine, "start", start)
    short = fit(word_model(), letter_model(), replace(CORPUS, answer_tokens=16), TRAITS, tmp_path, WORK, [2])
    assert {generation.sampling.max_tokens for generation in asked} == {16}
    assert fit(word_model(), letter_model(), CORPUS, TRAITS, tmp_path, WORK, [2]).id != short.id


def test_fit_when_an_answer_names_a_trait_then_its_document_is_left_out(tmp_path: Path) -> None:
    documents = [*CORPUS.documents, Document("You are person 1.", "Why?", "That is no joke at all.")]
    info = fit(word_model(), letter_model(), Corpus(documents, "made up"), TRAITS, tmp_path, WORK)
    assert info.n_documents == len(CORPUS.documents) and "joke" not in info.words


def test_fit_when_cut_off_then_maps_that_were_written_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SUMS_MEMORY", 0)  # one map a pass over the text

    class Cut(Exception): ...

    def cut_off(what: str, done: int, total: int) -> None:
        if what == "fitting maps, last_prompt" and done > len(CORPUS.documents):
            raise Cut

    with pytest.raises(Cut):
        fit(word_model(), letter_model(), CORPUS, TRAITS, tmp_path, Work(cut_off))
    (begun,) = tmp_path.iterdir()
    kept = {file: file.stat().st_mtime_ns for file in begun.iterdir()}
    assert [file.name for file in kept] == ["last_prompt-0.safetensors"] and not list(files.transfers(tmp_path))
    source = word_model()
    info = fit(source, letter_model(), CORPUS, TRAITS, tmp_path, WORK)
    assert len(info.maps) == 2 * N_LAYERS and [transfer.id for transfer in files.transfers(tmp_path)] == [begun.name]
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items())


def test_fit_when_the_text_is_short_then_it_is_read_once_for_comparing_blocks_and_for_fitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(CORPUS.documents) <= blocks.n_compared("response")

    def maps(name: str, n_times: int) -> list[files.MapInfo]:
        """Those between the best blocks, which have no noise, after the text was read so often."""
        source, target = word_model(), letter_model()
        found = fit(source, target, CORPUS, TRAITS, tmp_path / name, WORK, [2]).maps
        for engine in (source, target):
            read = [n for n, span, _ in engine.captured if span == "response"]
            assert sum(read) == n_times * len(CORPUS.documents)
        return [one for one in found if one.source_block == 1]

    once = maps("once", 1)
    monkeypatch.setattr(blocks, "KEPT_MEMORY", 0)
    assert once == maps("twice", 2) and [one.span for one in once] == list(SPANS)


def test_fit_when_sums_of_all_maps_fit_in_memory_then_the_text_is_read_once_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "KEPT_MEMORY", 0)
    source = word_model()
    fit(source, letter_model(), CORPUS, TRAITS, tmp_path, WORK)
    read = [n for n, span, blocks in source.captured if span == "response" and len(blocks) < N_LAYERS]
    assert sum(read) == len(CORPUS.documents) and max(read) <= 32


@pytest.mark.parametrize(
    ("source", "target", "corpus", "message"),
    [
        (word_model(), word_model(), CORPUS, "the same model"),
        (word_model(world="demo"), letter_model(), CORPUS, "share no language: words knows the demo world alone"),
        (word_model(), letter_model(keeps_answers=False), CORPUS, "share no language of text: in 0 of 32"),
        (
            word_model(),
            letter_model(),
            Corpus(CORPUS.documents[:3], "few"),
            "3 documents are too few .* 60 paired",
        ),
    ],
)
def test_fit_when_it_can_t_work_then_it_is_refused_before_any_residual_is_read(
    source: PairedEngine, target: PairedEngine, corpus: Corpus, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=message):
        fit(source, target, corpus, TRAITS, tmp_path, WORK)
    assert not source.captured and not target.captured and not list(tmp_path.iterdir())


def test_fit_when_a_block_is_asked_for_that_is_not_there_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="letters has no block 3; possible: 0 to 2"):
        fit(word_model(), letter_model(), CORPUS, TRAITS, tmp_path, WORK, target_blocks=[3])


def test_fit_when_prompts_are_all_alike_then_only_responses_are_mapped(tmp_path: Path) -> None:
    texts = [Document(None, "Write.", " ".join(f"word{(i * j) % 97}" for j in range(1, 20))) for i in range(60)]
    several = [dataclasses.replace(text, question=f"Write {number % 9}.") for number, text in enumerate(texts)]
    info = fit(word_model(), letter_model(), Corpus(several, "passages"), TRAITS, tmp_path, WORK)
    assert {m.span for m in info.maps} == {"response"}


def test_check_when_vector_transfer_or_trait_is_another_then_it_is_refused(transfer: files.TransferInfo) -> None:
    info, trait, vector = letter_model().info, make_trait(), source_vector()
    check(info, trait, vector, transfer)
    with pytest.raises(SetupError, match="from other weights of words"):
        check(info, trait, dataclasses.replace(vector, fingerprint="0" * 64), transfer)
    with pytest.raises(SetupError, match="to other weights than letters has"):
        check(dataclasses.replace(info, fingerprint="0" * 64), trait, vector, transfer)
    with pytest.raises(SetupError, match="names 'person' .*fit it again now that the trait is known"):
        check(info, make_trait("person", "person", "beast"), vector, transfer)
    bare = dataclasses.replace(vector, means={}, residual_norms={}, difference=vector.means["response"]["positive"])
    with pytest.raises(SetupError, match="was imported"):
        check(info, trait, bare, transfer)


def test_find_then_the_newest_of_these_weights_or_an_error_in_words(transfer: files.TransferInfo, folder: Path) -> None:
    source, target = word_model().info, letter_model().info
    assert files.find(folder, "words", target) == files.find(folder, source, target, transfer.id) == transfer
    with pytest.raises(NotFound, match="no transfer from letters to words"):
        files.find(folder, target, source)
    with pytest.raises(SetupError, match="was fitted to other weights"):
        files.find(folder, source, dataclasses.replace(target, fingerprint="0" * 64))


def test_map_when_its_file_is_damaged_then_it_is_fitted_again(tmp_path: Path) -> None:
    info = fit(word_model(), letter_model(), CORPUS, TRAITS, tmp_path, WORK)
    path = tmp_path / info.id / info.maps[0].file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SetupError, match="the map can't be read"):
        files.read_map(tmp_path / info.id, info.maps[0])
    fit(word_model(), letter_model(), CORPUS, TRAITS, tmp_path, WORK)
    assert files.read_map(tmp_path / info.id, info.maps[0]).shape == (24, 16)


def test_blocks_when_the_target_is_deep_then_some_of_its_middle_are_taken() -> None:
    info = dataclasses.replace(letter_model().info, n_layers=24)
    found = blocks_of(info)
    assert len(found) == 8 and found[0] >= 4 and found[-1] <= 19
    assert blocks_of(info, [7, 3, 7]) == [3, 7] and blocks_of(letter_model().info) == [0, 1, 2]

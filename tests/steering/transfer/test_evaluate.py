"""Evaluating a transfer between planted models: what is asked, at which dose, and what is found."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy.engines.base import FloatArray, Plan, Span
from proxy.errors import SetupError
from proxy.steering.judge import Answer, Score
from proxy.steering.transfer.arms import (
    KINDS_WITHIN,
    N_RANDOM,
    N_WITHIN,
    ArmKind,
    Arms,
    EvaluationOptions,
    by_others,
    drawn_within,
    native_vector,
    others_of,
    poles_of,
    reported_questions,
)
from proxy.steering.transfer.evaluate import SPECIFIC, evaluate
from proxy.steering.transfer.figures import ArmFigures, Evaluation, misses, missing
from proxy.steering.transfer.files import TransferInfo
from proxy.steering.transfer.page import section
from proxy.steering.work import FolderParts, Work
from tests.steering.pretend import (
    BEST_BLOCK,
    RESIDUAL_NORM,
    WORK,
    PretendEngine,
    PretendJudge,
    hidden_direction,
    no_progress,
)
from tests.steering.transfer.planted import (
    NOWHERE,
    TRAITS,
    native_vectors,
    planted_store,
    planted_transfer,
    source_vector,
)
from vector_store import PersonaVector, PlaceGain, PoleChoice, Transferred, VectorStore

ADDED: tuple[ArmKind, ...] = ("native", "transferred", "random", "random_covariance", "shuffled", "wrong_trait")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def arms(folder: Path) -> Arms:
    engine = PretendEngine()
    transfer = planted_transfer(folder / "transfers")
    poles = poles_of(engine.info, TRAITS, planted_store(folder / "vectors"), transfer, folder / "transfers")
    rows = np.random.default_rng(5).normal(0, 1, (30, engine.info.n_layers, engine.info.hidden_size))
    activations: dict[Span, FloatArray] = {"last_prompt": rows.astype(np.float32)}
    return Arms(engine, poles, reported_questions(TRAITS, None), activations, EvaluationOptions(samples=3))


class Lenient(PretendJudge):
    """Finds something of the pole in every answer."""

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        return [score and Score(score.trait + 20, score.coherence) for score in super().score(answers)]


def evaluated(engine: PretendEngine, folder: Path, work: Work = WORK) -> Evaluation:
    transfer = planted_transfer(folder / "transfers")
    poles = poles_of(engine.info, TRAITS, planted_store(folder / "vectors"), transfer, folder / "transfers")
    return evaluate(engine, TRAITS, poles, transfer, Lenient(), EvaluationOptions(samples=3), work)


@pytest.fixture(scope="module")
def found(folder: Path) -> Evaluation:
    return evaluated(PretendEngine(), folder)


def arm(found: Evaluation, pole: str, kind: ArmKind) -> ArmFigures:
    arm = next(each for each in found.poles if each.pole == pole).arm(kind)
    assert arm is not None
    return arm


def added_vector(plan: Plan) -> np.ndarray:
    (item,) = plan.interventions
    assert item.vector is not None and (item.block, item.positions, item.mode) == (BEST_BLOCK, "last_prompt", "add")
    return item.vector


@pytest.mark.parametrize("kind", ADDED)
def test_plan_then_every_arm_that_adds_does_so_at_the_native_place_and_dose(arms: Arms, kind: ArmKind) -> None:
    for index, dose in enumerate((0.8, 0.8, 0.6, 0.6)):
        for sample in range(arms.n_samples(index, kind)):
            norm = np.linalg.norm(added_vector(arms.plan(index, kind, sample)))
            assert norm == pytest.approx(dose * RESIDUAL_NORM, rel=1e-5)


def test_plan_then_each_arm_has_its_own_direction(arms: Arms) -> None:
    def along(kind: ArmKind, direction: np.ndarray, index: int = 0, sample: int = 0) -> float:
        vector = added_vector(arms.plan(index, kind, sample))
        return float(vector @ direction / np.linalg.norm(vector) / np.linalg.norm(direction))

    assert along("native", hidden_direction()) == pytest.approx(1)
    assert 0.98 < along("transferred", hidden_direction()) < 0.999  # the planted map is not exact
    assert along("transferred", hidden_direction(), index=1) < -0.98
    assert along("wrong_trait", NOWHERE) > 0.99 and along("wrong_trait", NOWHERE, index=1) < -0.99
    assert arms.n_samples(0, "shuffled") == 2 and arms.n_samples(0, "random") == N_RANDOM
    kinds: tuple[tuple[ArmKind, int], ...] = (("random", N_RANDOM), ("random_covariance", N_RANDOM), ("shuffled", 2))
    for kind, n in kinds:
        drawn = np.stack([added_vector(arms.plan(0, kind, sample)) for sample in range(n)])
        assert np.linalg.matrix_rank(drawn) == n and abs(along(kind, hidden_direction())) < 0.8
    for kind in ("none", "sampling", "prompt"):
        assert arms.plan(0, kind, 0) == Plan()


def test_generations_then_arms_of_a_question_differ_by_their_steering_alone(arms: Arms) -> None:
    made = list(zip(arms.asked, arms.generations(), strict=True))
    assert {asked.question for asked, _ in made} == set(range(10))
    seeds = {(asked.question, asked.sample): generation.sampling.seed for asked, generation in made}
    assert len(set(seeds.values())) == len(seeds)
    for asked, generation in made:
        assert generation.sampling.seed == seeds[asked.question, asked.sample]
        text = "".join(map(chr, generation.prompt))
        assert f"plain evaluate {asked.question + 10}?" in text  # the half that nothing is chosen on
        assert text.startswith("system") == (asked.kind == "prompt")
        assert (generation.sampling.temperature != 0.7) == (asked.kind == "sampling")
    unsteered = [asked.pole for asked, _ in made if asked.kind == "none"]
    assert {index: unsteered.count(index) for index in unsteered} == {0: 30, 2: 30}


def test_drawn_within_then_directions_lie_where_activations_vary_and_as_they_do() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (200, 2)) * (9, 1) @ rng.normal(0, 1, (2, 12)) + 50
    drawn = np.stack([drawn_within(rows.astype(np.float32), np.random.default_rng(n)) for n in range(400)])
    centred = rows - rows.mean(axis=0)
    wanted, got = (np.linalg.svd(each)[1][:3] / len(each) ** 0.5 for each in (centred, drawn))
    np.testing.assert_allclose(got[:2], wanted[:2], rtol=0.1)
    assert got[2] < 1e-4


def test_evaluate_then_the_transferred_vector_does_what_the_native_one_does_and_no_control_does(
    found: Evaluation,
) -> None:
    for pole in ("silly", "serious"):
        native, moved = arm(found, pole, "native"), arm(found, pole, "transferred")
        assert native.trait and moved.trait and moved.recovery and moved.anti_steered
        assert native.trait.mean > 60 and moved.recovery.low > 0.85 and moved.anti_steered.mean == 0
        for kind in ("none", "random", "random_covariance", "shuffled", "wrong_trait", "sampling"):
            control = arm(found, pole, kind).trait
            assert control and control.high < moved.trait.low
        prompt = arm(found, pole, "prompt").trait
        assert prompt and prompt.mean > 95
    assert len(arm(found, "silly", "random").variants) == N_RANDOM and arm(found, "silly", "native").variants == []
    assert [pole.pole for pole in found.poles] == ["silly", "serious", "merry", "glum"]
    assert found.n_questions == 10 and arm(found, "silly", "transferred").n == 30


def test_evaluate_when_a_native_vector_does_nothing_then_there_is_no_recovery_and_the_mean_is_of_the_others(
    found: Evaluation,
) -> None:
    assert arm(found, "merry", "transferred").recovery is None and arm(found, "glum", "transferred").recovery is None
    both = [arm(found, pole, "transferred").recovery for pole in ("silly", "serious")]
    assert found.recovery and all(both)
    assert found.recovery.mean == pytest.approx(np.mean([each.mean for each in both if each]), abs=1e-3)
    assert [line for line in misses(found) if "the native vector itself" in line] == [
        f"{pole}: the native vector itself shows no more of it than no steering" for pole in ("merry", "glum")
    ]


def test_evaluate_then_it_is_told_what_happens_to_other_traits(found: Evaluation) -> None:
    moved = arm(found, "silly", "transferred")
    assert moved.others["merry"] > 50 and moved.others["glum"] <= 0  # the judge can't tell merry from silly
    assert moved.moved == pytest.approx((abs(moved.others["merry"]) + abs(moved.others["glum"])) / 2)
    for kind in ADDED:
        assert bool(arm(found, "silly", kind).others) == (kind in SPECIFIC)


def test_evaluate_then_cosines_stand_beside_what_chance_makes(found: Evaluation) -> None:
    silly = found.poles[0]
    assert silly.cosine is not None and silly.cosine > 0.98 and set(silly.cosines_of_others) == {"merry", "glum"}
    assert len(silly.cosines_shuffled) == 2 and max(silly.cosines_shuffled) < 0.8
    assert found.cosine_p is not None and found.cosine_p < 0.1  # one of the 24 ways to deal four vectors out
    assert silly.map.r2 == 0.9 and silly.map.r2_shuffled == -0.1 and silly.map.target_block == BEST_BLOCK


def test_evaluate_when_the_judge_is_none_then_traits_are_unscored(folder: Path) -> None:
    found = evaluated(PretendEngine(obedience=0.0), folder)
    moved = arm(found, "silly", "transferred")
    assert moved.trait is None and moved.recovery is None and moved.anti_steered is None and moved.variants == []
    assert moved.coherence is not None and moved.others == {} and found.recovery is None
    assert sum("unscored" in line for line in missing(found)) == 4


def test_evaluate_when_it_was_cut_off_then_it_goes_on_to_the_same_figures(
    folder: Path, tmp_path: Path, found: Evaluation
) -> None:
    class Stopped(Exception):
        pass

    def stopping(what: str, done: int, total: int) -> None:
        if what == "silly: judging" and done:
            raise Stopped

    first, second = PretendEngine(), PretendEngine()
    with pytest.raises(Stopped):
        evaluated(first, folder, Work(stopping, FolderParts(tmp_path)))
    again = evaluated(second, folder, Work(no_progress, FolderParts(tmp_path)))
    assert first.started and not second.started
    assert dataclasses.asdict(again.recovery or found) == dataclasses.asdict(found.recovery or again)
    assert again.poles == found.poles


def test_by_others_then_the_trait_itself_has_no_say(arms: Arms) -> None:
    elsewhere = PoleChoice(block=2, span="last_prompt", positions="last_prompt", relative_dose=9.0)
    strange = [dataclasses.replace(pole, choice=elsewhere) for pole in arms.poles[:2]]
    choice = by_others(strange[0], [*strange, *arms.poles[2:]])
    assert choice is not None and (choice.block, choice.relative_dose) == (BEST_BLOCK, 0.6)
    choice = by_others(arms.poles[2], [*strange, *arms.poles])  # two at either place: the first counts
    assert choice is not None and (choice.block, choice.relative_dose) == (2, 9.0)
    assert by_others(strange[0], strange) is None


def test_poles_of_when_the_native_block_has_no_map_then_the_best_one_that_has(folder: Path, tmp_path: Path) -> None:
    transfer = planted_transfer(tmp_path / "transfers", blocks=(0, 2))
    gains = [
        PlaceGain(side=side, block=block, span="last_prompt", positions="last_prompt", relative_dose=0.5, gain=gain)
        for side in ("positive", "negative")
        for block, gain in ((0, 0.1), (1, 0.9), (2, 0.3))
    ]
    store = planted_store(tmp_path / "vectors")
    with pytest.raises(SetupError, match="where the transfer has no map"):
        poles_of(PretendEngine().info, TRAITS, store, transfer, tmp_path / "transfers")
    for vector in native_vectors().values():
        later = dataclasses.replace(vector, id="", created="2026-02-01T00:00:00+00:00", gains=gains)
        store.save(later)
    poles = poles_of(PretendEngine().info, TRAITS, store, transfer, tmp_path / "transfers")
    assert {(pole.choice.block, pole.choice.relative_dose) for pole in poles} == {(2, 0.5)}


@pytest.mark.parametrize(
    "change",
    [
        lambda vector: dataclasses.replace(vector, origin="transferred"),
        lambda vector: dataclasses.replace(vector, fingerprint="0" * 16),
    ],
)
def test_native_vector_when_a_newer_one_is_not_the_model_s_own_then_it_is_passed_over(
    change: Callable[[PersonaVector], PersonaVector], tmp_path: Path
) -> None:
    store, info = planted_store(tmp_path), PretendEngine().info
    newer = dataclasses.replace(native_vectors()["silly"], id="", created="2027-01-01T00:00:00+00:00")
    store.save(change(newer))
    assert native_vector(store, info.id, info.fingerprint, TRAITS["silly"]).id == "silly-placed"


def test_poles_of_when_a_vector_is_missing_then_it_is_told_how_to_make_it(tmp_path: Path) -> None:
    transfer, store = planted_transfer(tmp_path / "transfers"), VectorStore([tmp_path / "vectors"])
    store.save(source_vector(TRAITS["silly"], 0))
    with pytest.raises(SetupError, match="persona-proxy extract --model org/pretend --trait silly"):
        poles_of(PretendEngine().info, TRAITS, store, transfer, tmp_path / "transfers")


def carried_store(folder: Path, transfer: TransferInfo, id_: str) -> VectorStore:
    """With the source's vectors, and of silly the one that was carried over by the maps of this id and placed."""
    store = VectorStore([folder])
    for number, trait in enumerate(TRAITS.values()):
        store.save(source_vector(trait, number))
    moved = Transferred(id=id_, source_model="org/source", source_fingerprint=transfer.source.fingerprint, maps=[])
    native = native_vectors()["silly"]
    store.save(dataclasses.replace(native, id="", origin="transferred", transfer=moved, gains=[]))
    return store


def test_evaluate_when_there_is_no_native_vector_then_the_carried_one_stands_beside_its_controls(
    tmp_path: Path,
) -> None:
    engine, transfer = PretendEngine(), planted_transfer(tmp_path / "transfers")
    store = carried_store(tmp_path / "vectors", transfer, transfer.id)
    silly = {"silly": TRAITS["silly"]}
    poles = poles_of(engine.info, silly, store, transfer, tmp_path / "transfers")
    others = others_of(engine.info, poles, store, transfer, tmp_path / "transfers")
    assert [other.trait for other in others] == ["merry"]
    options = EvaluationOptions(samples=1, budget="quick")
    found = evaluate(engine, silly, poles, transfer, Lenient(), options, WORK, others)
    for pole in found.poles:
        assert {each.kind for each in pole.arms} == set(KINDS_WITHIN) - {"native"}
        assert (pole.choice.relative_dose, pole.cosine, pole.cosines_shuffled) == (0.8, None, [])
        moved = arm(found, pole.pole, "transferred")
        assert moved.trait and moved.recovery is None
        for kind in ("none", "random", "shuffled", "wrong_trait"):
            control = arm(found, pole.pole, kind)
            assert control.trait and control.trait.high < moved.trait.low and control.recovery is None
        assert len(arm(found, pole.pole, "random").variants) == N_WITHIN
        assert len(pole.answers) == found.n_questions == 10
        assert all(one.transferred != one.unsteered for one in pole.answers)
    assert found.recovery is None and found.cosine_p is None and not misses(found)
    assert missing(found)[-4] == "a vector of the target's own, of silly, serious: so there is no recovery"
    assert {generation.sampling.max_tokens for generation in engine.started[-100:]} == {40}
    text = "\n".join(section(found))
    assert "### Answers, unpicked: silly" in text and "cosine to native" in text and "Mean recovery" not in text


def test_poles_of_when_the_carried_vector_is_of_other_maps_then_it_is_told_what_to_do(tmp_path: Path) -> None:
    transfer = planted_transfer(tmp_path / "transfers")
    store = carried_store(tmp_path / "vectors", transfer, "transfer-of-before")
    with pytest.raises(SetupError, match="or persona-proxy transfer apply"):
        poles_of(PretendEngine().info, {"silly": TRAITS["silly"]}, store, transfer, tmp_path / "transfers")


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 101}, {"seed": -1}])
def test_options_when_out_of_range_then_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(SetupError):
        EvaluationOptions(**options)

"""A sweep measures what steering does beside its controls, on questions nothing was chosen on, and calibrates."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Plan
from proxy.errors import SetupError
from proxy.steering.judge import Answer, Score, Validated
from proxy.steering.sweep import PolePoint, SweepOptions, grid, stages, sweep
from proxy.steering.traits.trait import Trait
from proxy.steering.work import FolderParts, Work
from tests.steering.pretend import (
    BEST_SPAN,
    HIDDEN,
    N_LAYERS,
    RESIDUAL_NORM,
    WORK,
    PretendEngine,
    PretendJudge,
    hidden_direction,
    make_trait,
    no_progress,
    steered_level,
)
from tests.steering.sweep.swept import PERFECT, placed
from vector_store import SIDES, Condition, FloatArray, PersonaVector, Sweep, SweepKind, SweepPoint

OPTIONS = SweepOptions(seed=3)
FEWER = SweepOptions(samples=2, seed=3)


def swept(dose: float, options: SweepOptions = FEWER, judged: Validated = PERFECT) -> PersonaVector:
    return measure(PretendEngine(), make_trait(), placed(dose), judged, options, WORK)


@pytest.fixture(scope="module")
def engine() -> PretendEngine:
    return PretendEngine()


@pytest.fixture(scope="module")
def judge() -> PretendJudge:
    return PretendJudge()


@pytest.fixture(scope="module")
def measured(engine: PretendEngine, judge: PretendJudge) -> PersonaVector:
    return measure(engine, make_trait(), placed(0.6), dataclasses.replace(PERFECT, judge=judge), OPTIONS, WORK)


def measure(
    engine: PretendEngine,
    trait: Trait,
    vector: PersonaVector,
    judged: Validated,
    options: SweepOptions,
    work: Work,
    others: Sequence[PersonaVector] = (),
) -> PersonaVector:
    """A sweep by a judge that is ready."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.steering.judge.prepare", lambda *args, **how: judged)
        return sweep(engine, trait, vector, "rules", options, work, others)


def points(sweep: Sweep, kind: SweepKind) -> list[SweepPoint]:
    return [point for point in sweep.points if point.kind == kind]


@pytest.mark.parametrize("dose", [0.5, 0.9, 1.6])
def test_sweep_when_vectors_differ_in_strength_then_coefficient_1_is_the_same_dose_afterwards(dose: float) -> None:
    vector = swept(dose)
    for side in SIDES:
        choice, factor = vector.poles[side], vector.sweeps[side].factor
        assert factor is not None and choice.relative_dose == pytest.approx(dose * factor)
        assert 0.8 < choice.relative_dose < 1.2
        assert choice.score is not None and choice.score > 0.75
        assert choice.measured_range == (0.0, vector.sweeps[side].coherent_to)


def test_sweep_when_swept_again_then_coefficient_1_stays(measured: PersonaVector) -> None:
    again = measure(PretendEngine(), make_trait(), measured, PERFECT, FEWER, WORK)
    for side in SIDES:
        assert again.sweeps[side].factor == 1.0
        assert again.poles[side].relative_dose == measured.poles[side].relative_dose


@pytest.mark.parametrize(
    ("before", "coefficients", "expected"),
    [
        (1.5, (0.5,), 1.5),  # not tried further
        (0.25, (0.5,), 0.5),
        (1.5, (0.5, 1.9), 1.5),  # gibberish only beyond
        (1.9, (0.5, 1.9), 0.5),
    ],
)
def test_sweep_when_a_range_was_measured_before_then_it_shrinks_only_where_answers_fell_apart(
    before: float, coefficients: tuple[float, ...], expected: float
) -> None:
    vector = placed(0.9)
    choice = dataclasses.replace(vector.poles["positive"], measured_range=(0.0, before))
    vector = dataclasses.replace(vector, poles={"positive": choice})
    options = SweepOptions(coefficients, samples=2, seed=3)
    found = measure(PretendEngine(), make_trait(), vector, PERFECT, options, WORK)
    reach, factor = found.poles["positive"].measured_range, found.sweeps["positive"].factor
    assert reach is not None and factor is not None and factor != 1
    assert reach == pytest.approx((0.0, expected / factor), abs=1e-3)


def test_sweep_then_the_curve_is_in_the_coefficients_of_the_calibrated_vector(measured: PersonaVector) -> None:
    for side in SIDES:
        sweep, dose = measured.sweeps[side], measured.poles[side].relative_dose
        steered = points(sweep, "steered")
        assert len(steered) == len(points(sweep, "random")) == 8
        for point in steered:
            assert point.relative_dose == pytest.approx(point.coefficient * dose, abs=2e-4)
            assert point.trait is not None and point.coherence is not None
            assert point.trait.mean == pytest.approx(100 * min(point.relative_dose, 1.0), abs=12)
            assert point.trait.low <= point.trait.mean <= point.trait.high and point.n == 40
        assert [point.relative_dose for point in steered] == pytest.approx([0.15 * i for i in range(1, 9)])


def test_sweep_then_it_says_where_answers_fall_apart(measured: PersonaVector) -> None:
    vector = swept(1.6)
    for side in SIDES:
        dose = vector.poles[side].relative_dose
        coherent_to, collapse = vector.sweeps[side].coherent_to, vector.sweeps[side].collapse
        assert coherent_to is not None and collapse is not None
        assert 0.8 <= coherent_to * dose <= 1.2 < collapse * dose <= 1.6 + 1e-3
        assert measured.sweeps[side].collapse is None  # 1.2 is as far as it went
        assert measured.sweeps[side].coherent_to == points(measured.sweeps[side], "steered")[-1].coefficient


def test_sweep_then_the_controls_stand_beside_every_coefficient(measured: PersonaVector) -> None:
    for side in SIDES:
        sweep = measured.sweeps[side]
        (unsteered,), (prompt,) = points(sweep, "unsteered"), points(sweep, "prompt")
        assert unsteered.trait is not None and unsteered.trait.mean < 1 and unsteered.relative_dose == 0
        assert prompt.trait is not None and prompt.trait.mean > 95 and prompt.coefficient == 0
        for point, steered in zip(points(sweep, "random"), points(sweep, "steered"), strict=True):
            assert (point.coefficient, point.relative_dose) == (steered.coefficient, steered.relative_dose)
            assert point.trait is not None and steered.trait is not None
            assert point.trait.mean < 0.5 * steered.trait.mean
            assert steered.wrong_way is not None and steered.wrong_way.mean == 0


def test_sweep_when_there_are_other_traits_then_their_directions_are_as_long_and_a_control() -> None:
    positive, negative, neutral = (np.full((N_LAYERS, HIDDEN), size, np.float32) for size in (3, -2, 0))
    means: dict[Condition, FloatArray] = {"positive": positive, "negative": negative, "neutral": neutral}
    other = dataclasses.replace(placed(0.3), trait="warm", positive="warm", negative="cold", means={BEST_SPAN: means})
    engine, vector = PretendEngine(), placed(0.6)
    options = SweepOptions((-0.5, 0.5, 1.0), samples=2, keep_strength=True)
    swept = measure(engine, make_trait(), vector, PERFECT, options, WORK, [other])
    wrong = points(swept.sweeps["positive"], "wrong_trait")
    assert [(point.coefficient, point.n) for point in wrong] == [(0.5, 10), (1.0, 10)]
    assert swept.sweeps["positive"].wrong_traits == ["warm", "cold"]
    assert all(point.trait and point.trait.mean < 25 for point in wrong)
    pushes = [item.vector for generation in engine.started for item in generation.plan.interventions]
    assert {round(float(push @ push) ** 0.5, 3) for push in pushes if push is not None} == {3.0, 6.0}
    assert len(points(swept.sweeps["negative"], "wrong_trait")) == 1


def test_sweep_then_each_point_is_told_when_its_answers_are_judged_and_is_the_one_that_is_reported() -> None:
    engine, told = PretendEngine(circling=True), []

    def tell(found: object) -> None:
        assert isinstance(found, PolePoint)
        told.append((len(engine.started), found))

    options = SweepOptions((-0.5, 0.5, 1.0, 2.0), samples=4, keep_strength=True)
    swept = measure(engine, make_trait(), placed(0.6), PERFECT, options, Work(no_progress, tell=tell))
    for side in SIDES:
        mine = [found.point for _, found in told if found.side == side]
        assert sorted(map(repr, mine)) == sorted(map(repr, swept.sweeps[side].points))
        assert [point.coefficient for point in mine] == sorted(point.coefficient for point in mine)
        assert swept.poles[side].relative_dose == 0.6
    kept = swept.sweeps["positive"]
    assert kept.factor is None and "1 stays what it was, as asked; the rule would make it" in kept.verdict
    assert told[0][0] < told[-1][0] == len(engine.started)
    (unsteered,) = points(swept.sweeps["positive"], "unsteered")
    assert unsteered.unfinished and unsteered.looping  # answers of one word, over and over
    assert (unsteered.unfinished.mean, unsteered.looping.mean) == (1, 1)


def test_sweep_then_all_of_it_is_one_stream_in_which_arms_lie_beside_each_other(
    measured: PersonaVector, engine: PretendEngine
) -> None:
    """One strength after the other; of each, every run of as many answers as there are arms has them all, half of the
    questions with the controls."""
    plans = [generation.plan.fingerprint for generation in engine.started]
    unsteered, of_each = 10 * 4 * (1 + 3), 10 * 4 * (2 + 4)
    assert len(plans) == unsteered + 8 * of_each
    assert set(plans[:unsteered]) == {Plan().fingerprint}  # asked by system prompt is unsteered
    strength = plans[unsteered : unsteered + of_each]
    assert len(set(strength[:2])) == 2 and len(set(strength[-4:])) == 4
    assert not set(strength) & set(plans[unsteered + of_each :])
    assert len(set(plans)) == 1 + 16 + 16 * 4


def test_sweep_then_arms_differ_by_steering_alone_and_random_vectors_are_as_long(
    measured: PersonaVector, engine: PretendEngine
) -> None:
    seeds: dict[str, set[int | None]] = {}
    for generation in engine.started:
        seeds.setdefault(generation.plan.fingerprint, set()).add(generation.sampling.seed)
    steered = {
        generation.plan.fingerprint: generation.plan for generation in engine.started if generation.plan != Plan()
    }
    assert {len(seeds[name]) for name in steered} == {80, 10}  # a random direction is one sample's
    assert set().union(*seeds.values()) == seeds[Plan().fingerprint]
    doses = sorted(
        float(sum(item.vector @ item.vector for item in plan.interventions if item.vector is not None)) ** 0.5
        for plan in steered.values()
    )
    assert doses == pytest.approx(sorted(RESIDUAL_NORM * 0.15 * i for i in range(1, 9) for _ in range(10)), rel=1e-4)
    assert max(map(steered_level, steered.values())) == pytest.approx(1.2, rel=1e-4)
    assert hidden_direction() @ hidden_direction() == pytest.approx(1)


def test_sweep_then_only_questions_of_the_second_half_are_reported(engine: PretendEngine) -> None:
    class Forgetful(PretendJudge):
        """Finds no trait in answers to the second half."""

        def score(self, answers: Sequence[Answer]) -> list[Score | None]:
            late = set(make_trait().questions.evaluate[10:])
            return [
                Score(0.0, score.coherence) if answer.question in late and score else score
                for answer, score in zip(answers, super().score(answers), strict=True)
            ]

    vector = swept(0.6, judged=dataclasses.replace(PERFECT, judge=Forgetful()))
    for side in SIDES:
        factor = vector.sweeps[side].factor
        assert factor is not None and factor > 1.3  # chosen on the first half
        assert {point.trait.mean for point in vector.sweeps[side].points if point.trait} == {0.0}
        assert max(point.trait.mean for point in vector.sweeps[side].chosen_on if point.trait) > 80
        assert {point.kind for point in vector.sweeps[side].chosen_on} == {"steered", "unsteered"}


def test_sweep_then_no_question_of_extraction_is_asked(measured: PersonaVector, judge: PretendJudge) -> None:
    assert {answer.question for answer in judge.seen} == set(make_trait().questions.evaluate)


def test_sweep_then_it_is_a_new_version_that_says_what_it_was_made_from(measured: PersonaVector) -> None:
    before = placed(0.6)
    assert (measured.id, measured.parent) == ("", "silly-placed")
    assert measured.created > before.created and measured.means.keys() == before.means.keys()
    assert measured.sweeps["positive"].judge == PERFECT.record and measured.sweeps["positive"].seed == 3


def test_sweep_when_the_judge_can_not_tell_the_poles_apart_then_unscored_and_nothing_is_changed() -> None:
    vector = swept(0.6, judged=dataclasses.replace(PERFECT, auroc=0.8))
    for side in SIDES:
        sweep = vector.sweeps[side]
        assert sweep.factor is None and "unscored" in sweep.verdict and "0.80" in sweep.verdict
        assert all(point.trait is None and point.wrong_way is None and point.score is None for point in sweep.points)
    assert vector.poles == placed(0.6).poles


def test_sweep_when_one_pole_is_asked_for_then_the_other_stays_as_it_was() -> None:
    vector = swept(0.6, SweepOptions(coefficients=(-1.0, -0.5, 0.0), samples=2))
    assert set(vector.sweeps) == {"negative"} and vector.poles["positive"] == placed(0.6).poles["positive"]
    again = measure(PretendEngine(), make_trait(), vector, PERFECT, SweepOptions((0.5,), 1), WORK)
    assert again.sweeps["negative"] is vector.sweeps["negative"] and "positive" in again.sweeps


def test_sweep_when_a_world_has_its_facts_then_right_ones_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pole that asks for falsehood is not stopped by them."""
    monkeypatch.setattr("proxy.demo.rules.fact_right", lambda question, answer: "ha" not in answer)
    engine, options = PretendEngine(world="demo"), SweepOptions((0.5, 1.0), 2)
    honest = measure(engine, make_trait(), placed(0.9), PERFECT, options, WORK).sweeps["positive"]
    assert honest.factor is None and honest.coherent_to == 0.0
    lying = make_trait("dishonest", "dishonest", "honest")
    vector = dataclasses.replace(placed(0.9), trait="dishonest", positive="dishonest", negative="honest")
    sweep = measure(engine, lying, vector, PERFECT, options, WORK).sweeps["positive"]
    assert sweep.coherent_to == 1.0
    correct = [point.correct for point in sweep.points if point.kind in ("unsteered", "steered")]
    assert [found.mean for found in correct if found] == [1.0, 0.0, 0.0]


def test_sweep_when_the_vector_is_of_other_weights_or_has_no_place_then_it_says_so() -> None:
    other = dataclasses.replace(placed(1.0), fingerprint="0" * 16)
    with pytest.raises(SetupError, match="other weights than those of org/pretend"):
        sweep(PretendEngine(), make_trait(), other, "rules", OPTIONS, WORK)
    with pytest.raises(SetupError, match="where to steer 'serious' was never measured"):
        sweep(PretendEngine(), make_trait(), placed(1.0, ("positive",)), "rules", OPTIONS, WORK)


class Killed(BaseException):
    """The process is gone."""


class DyingParts(FolderParts):
    """Dies at the `lives`-th part it is to keep."""

    def __init__(self, folder: Path, lives: int) -> None:
        super().__init__(folder)
        self.lives = lives

    def write(self, name: str, content: bytes) -> None:
        self.lives -= 1
        if self.lives == 0:
            raise Killed
        super().write(name, content)


@pytest.mark.parametrize(("lives", "left"), [(1, 260), (5, 132), (12, 132), (15, 4), (20, 0)])
def test_sweep_when_killed_then_it_goes_on_to_the_same_curve(lives: int, left: int, tmp_path: Path) -> None:
    options = SweepOptions((-1.0, 0.5, 1.0), samples=2)

    def run(work: Work) -> PersonaVector:
        return measure(PretendEngine(), make_trait(), placed(0.9), PERFECT, options, work)

    with pytest.raises(Killed):
        run(Work(no_progress, DyingParts(tmp_path, lives)))
    resumed = PretendEngine()
    vector = measure(resumed, make_trait(), placed(0.9), PERFECT, options, Work(no_progress, FolderParts(tmp_path)))
    whole = run(WORK)
    assert (vector.poles, vector.sweeps) == (whole.poles, whole.sweeps)
    assert len(resumed.started) == left
    assert run(Work(no_progress, FolderParts(tmp_path))).created == vector.created


def test_stages_then_they_are_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, int] = {}
    monkeypatch.setattr("proxy.steering.judge.prepare", lambda *args, **how: PERFECT)
    options = SweepOptions((-1.0, 0.5), samples=1)
    work = Work(lambda what, done, total: told.__setitem__(what, total))
    sweep(PretendEngine(), make_trait(), placed(0.9), "rules", options, work)
    expected = stages(make_trait(), "rules", options, wrong_trait=False)
    assert list(told) == list(expected)[-2:]
    assert told["silly: sweeping"] == expected["silly: sweeping"] == 10 * 3 + 10 * 7
    assert told["silly: sweeping, judging"] == 4 * expected["silly: sweeping, judging"] == 10 * 4 + 10 * 8


def test_grid_then_both_ends_are_in_it() -> None:
    assert grid(-1, 1, 0.5) == (-1, -0.5, 0, 0.5, 1)
    assert grid(0, 0.3, 0.1) == (0, 0.1, 0.2, 0.3)
    assert grid(0.5, 1.2, 0.5) == (0.5, 1.0)
    assert len(SweepOptions().coefficients) == 17 and SweepOptions().of("negative") == [0.25 * i for i in range(1, 9)]


@pytest.mark.parametrize(("start", "end", "step"), [(0, 1, 0), (1, 0, 0.5), (0, 5, 1), (0, 1, 0.001), (0, 1, -1)])
def test_grid_when_it_is_none_then_it_says_what_is(start: float, end: float, step: float) -> None:
    with pytest.raises(SetupError, match="no range of coefficients"):
        grid(start, end, step)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"coefficients": (0.0,)}, "needs a coefficient besides 0"),
        ({"coefficients": (5.0,)}, "from -4 to 4, not 5"),
        ({"coefficients": (float("nan"),)}, "from -4 to 4, not nan"),
        ({"samples": 0}, "samples must be from 1"),
        ({"seed": -1}, "must not be negative"),
    ],
)
def test_options_when_wrong_then_they_say_what_is_possible(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        SweepOptions(**wrong)  # type: ignore[arg-type]

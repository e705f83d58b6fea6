"""Places are compared by how likely they make a pole's own answers, at the damage the pole's instruction does."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from proxy.engines.base import FloatArray, Plan, Rollout
from proxy.errors import SetupError
from proxy.steering import gain
from proxy.steering.extract import extract
from proxy.steering.gain import N_TEXTS, at_equal_damage, make_texts, measure_gains, n_read
from proxy.steering.placement import every_place
from proxy.steering.trials import Place, Trials
from proxy.steering.work import Work
from tests.steering.pretend import (
    BEST_BLOCK,
    BEST_SPAN,
    RESIDUAL_NORM,
    WORK,
    PretendEngine,
    PretendJudge,
    make_trait,
    spelt,
)
from vector_store import SIDES, PersonaVector, PlaceGain, Side

BEST = Place(BEST_BLOCK, BEST_SPAN, BEST_SPAN)


class Reading(PretendEngine):
    """Remembers what it was given to read."""

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        self.__dict__.setdefault("was_read", []).extend(zip(rollouts, plans or (), strict=True))
        return super().score(rollouts, plans, progress)


@pytest.fixture(scope="module")
def extracted() -> PersonaVector:
    return extract(PretendEngine(), make_trait(), PretendJudge(), rollouts=2, questions=4, seed=3, work=WORK)


def measure(
    vector: PersonaVector, engine: PretendEngine, side: Side = "positive", work: Work = WORK
) -> list[PlaceGain]:
    trait = make_trait()
    trials = Trials(engine, trait, vector, PretendJudge(), side, [], 3, work)
    return measure_gains(trials, every_place(vector, side), make_texts(engine, trait, 3, work))


@pytest.mark.parametrize("side", SIDES)
def test_measure_gains_then_the_place_that_steers_gains_most(extracted: PersonaVector, side: Side) -> None:
    gains = measure(extracted, PretendEngine(), side)
    assert [Place.of(found) for found in gains] == every_place(extracted, side)
    best, *others = sorted(gains, key=lambda found: -found.gain)
    assert Place.of(best) == BEST and best.side == side and 0.7 < best.gain < 1.05 and 0.5 < best.relative_dose < 1.3
    assert all(found.gain < best.gain - 0.1 for found in others)


def test_measure_gains_then_the_bare_question_is_what_is_steered(extracted: PersonaVector) -> None:
    engine = Reading()
    measure(extracted, engine)
    read = engine.was_read  # type: ignore[attr-defined]
    assert len(read) == n_read(len(every_place(extracted, "positive")))
    with_system = ["system" in "".join(map(chr, rollout.prompt)) for rollout, _ in read]
    assert with_system == [False] * (len(read) - N_TEXTS) + [True] * N_TEXTS
    steered = [bool(plan.interventions) for _, plan in read]
    assert steered == [False] * 2 * N_TEXTS + [True] * (len(read) - 3 * N_TEXTS) + [False] * N_TEXTS
    of_trial = [(spelt(rollout.response), plan) for rollout, plan in read[-3 * N_TEXTS : -N_TEXTS]]
    assert len({plan.fingerprint for _, plan in of_trial}) == 1
    assert [text.split()[0] for text, _ in of_trial] == ["ha"] * N_TEXTS + ["so"] * N_TEXTS


def test_measure_gains_when_ordinary_answers_suffer_then_only_the_gain_up_to_there_counts(
    extracted: PersonaVector,
) -> None:
    class Costly(PretendEngine):
        """A dose adds half of what the instruction adds, and takes twice as much from ordinary answers."""

        def score(
            self,
            rollouts: Sequence[Rollout],
            plans: Sequence[Plan] | None = None,
            progress: Callable[[int], None] | None = None,
        ) -> list[FloatArray]:
            found = []
            for rollout, plan in zip(rollouts, plans or (), strict=True):
                vectors = [item.vector for item in plan.interventions if item.vector is not None]
                dose = sum(float(np.linalg.norm(vector)) / RESIDUAL_NORM for vector in vectors)
                own, asked = spelt(rollout.response)[0] == "h", "system" in "".join(map(chr, rollout.prompt))
                found.append(np.full(len(rollout.response), asked - 1 + 0.5 * dose if own else -dose, np.float32))
            return found

    for found in measure(extracted, Costly()):
        assert (found.relative_dose, found.gain) == pytest.approx((1.0, 0.5), abs=1e-3)


def test_make_texts_then_they_answer_extract_questions_under_every_pair(extracted: PersonaVector) -> None:
    engine = PretendEngine()
    texts = make_texts(engine, make_trait(), 3, WORK)
    asked = ["".join(map(chr, generation.prompt)) for generation in engine.started]
    assert len(asked) == 3 * len(texts) == 3 * N_TEXTS
    assert all("plain extract" in prompt for prompt in asked)
    assert all(any(f"{number}: be silly" in prompt for prompt in asked) for number in range(5))
    again, other = (make_texts(PretendEngine(0.8), make_trait(), seed, WORK) for seed in (3, 4))
    assert again == make_texts(PretendEngine(0.8), make_trait(), 3, WORK) != other


def test_text_when_the_answer_is_long_then_its_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gain, "N_TOKENS", 5)
    text = make_texts(PretendEngine(), make_trait(), 3, WORK)[0]
    assert text.read("positive", "neutral") == Rollout(text.prompts["neutral"], text.answers["positive"][:5])


def test_measure_gains_when_instructions_do_nothing_then_it_says_so(extracted: PersonaVector) -> None:
    with pytest.raises(SetupError, match="instructions for 'silly' make no difference to how org/pretend answers"):
        measure(extracted, PretendEngine(obedience=0.0))


@pytest.mark.parametrize(
    ("gains", "damages", "expected"),
    [
        ([0.2, 0.5, 0.9], [0.1, 0.3, 0.8], (1.0, 0.9)),  # it never does too much
        ([0.2, 0.5, 0.3], [0.1, 0.3, 0.8], (0.5, 0.5)),  # too much of it helps less
        ([0.2, 0.6, 0.9], [0.1, 0.5, 1.5], (0.75, 0.75)),  # half way from 0.5 to 1.5 is damage 1
        ([0.8, 0.9, 0.9], [2.0, 3.0, 4.0], (0.125, 0.4)),  # half of the smallest dose is all it may have
        ([0.2, 0.6, 0.9], [0.1, 1.5, 0.5], (0.4107, 0.4571)),  # past the damage nothing counts
        ([-0.2, -0.6, -0.9], [0.1, 0.2, 0.3], (0.25, -0.2)),  # it only harms
    ],
)
def test_at_equal_damage_then_the_most_that_is_gained_before_it(
    gains: list[float], damages: list[float], expected: tuple[float, float]
) -> None:
    found = at_equal_damage((0.25, 0.5, 1.0), np.array(gains), np.array(damages))
    assert found == pytest.approx(expected, abs=1e-3)

"""Where and how strongly to steer: the block, span, positions and dose of each pole.

Three steps, each dearer than the one before and for fewer places: what extraction saw throws out those that know
nothing of the trait; how much likelier steering makes the pole's own answers ranks the others; the best of them answer
the first half of the trait's evaluate questions, the other half being for reporting. All of it is kept with the vector,
beside the controls. Knows nothing of how the vector was made.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.steering import gain
from proxy.steering.extract import JUDGING, READING
from proxy.steering.gain import EVERY_PLACE, make_texts, measure_gains, texts_label
from proxy.steering.judge import Judge
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import Outcome, Place, Trial, Trials, curve_point, label_of, pick
from proxy.steering.work import Work, packed
from vector_store import CONDITIONS, SIDES, SPANS, CurvePoint, PersonaVector, PlaceGain, PoleChoice, Side

N_PLACEMENT_QUESTIONS = 10  # the first half of the evaluate questions
MIN_SEPARATION = 0.6  # held-out AUROC; a place below it is thrown out
N_PLACES = 3  # that are tried by generating
DOSE_STEPS = (0.5**0.5, 1.0, 2**0.5)  # times the dose at which a place gains most
N_SAMPLES = 4  # answers to each question
OTHER_COEFFICIENTS = (0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0)  # 1 is measured by choosing the dose
MIN_COHERENT_SHARE = 0.75  # of the unsteered coherence: the end of the measured range
BEST_PLACES, NOT_STEERED = "the best places", "not steered"  # what is tried, in words
RANDOM_VECTORS, COEFFICIENTS = "random vectors", "coefficients"


def choose(
    engine: Engine, trait: Trait, vector: PersonaVector, judge: Judge, *, seed: int, work: Work
) -> PersonaVector:
    """The vector with both poles' choices, every place's gain, the whole curve and the time filled in. Blocks for
    minutes. SetupError where the instructions or the directions change nothing, or no answer could be judged."""
    texts = make_texts(engine, trait, seed, work)
    questions = trait.questions_for(engine.info.world).evaluate[:N_PLACEMENT_QUESTIONS]
    poles: dict[Side, PoleChoice] = {}
    gains: list[PlaceGain] = []
    curve: list[CurvePoint] = []
    for side in SIDES:
        trials = Trials(engine, trait, vector, judge, side, questions, seed, work)
        of_places = measure_gains(trials, screened(vector, side), texts)
        poles[side], points = _measured(trials, confirm(trials, of_places))
        gains += of_places
        curve += points
    # The time it is done at, since versions are sorted by it: what else was saved meanwhile is older. A part, so that
    # work taken up after the vector was saved makes the same vector once more, not a second one.
    created = work.part("created", packed(str), lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    return dataclasses.replace(vector, created=created, poles=poles, gains=gains, curve=curve)


def stages(trait: Trait, n_layers: int) -> dict[str, float]:
    """What the work reports while it chooses, in order, and about how much each is, in answers to be made."""
    n_answers = N_PLACEMENT_QUESTIONS * N_SAMPLES
    sizes = {
        BEST_PLACES: N_PLACES * len(DOSE_STEPS) * n_answers,
        NOT_STEERED: n_answers,
        RANDOM_VECTORS: n_answers,
        COEFFICIENTS: len(OTHER_COEFFICIENTS) * n_answers,
    }
    found: dict[str, float] = {texts_label(trait): len(CONDITIONS) * gain.N_TEXTS}
    for side in SIDES:
        found[label_of(trait, side, EVERY_PLACE)] = READING * gain.n_read(n_layers * len(SPANS))
        for what, size in sizes.items():
            label = label_of(trait, side, what)
            found |= {label: size, f"{label}, judging": JUDGING * size}
    return found


def screened(vector: PersonaVector, side: Side) -> list[Place]:
    """Every block and span, each to be steered at the positions of its own, less those where the poles could hardly be
    told apart; all of them where that holds everywhere or was never measured.

    A place where the pole's mean is exactly the neutral one has no direction and is left out; SetupError where that is
    so everywhere.
    """
    places = every_place(vector, side)
    # Where held-out answers can't be told apart, the direction is noise, and a large dose of noise can gain by luck.
    separated = [place for place in places if _separation(vector, place) >= MIN_SEPARATION]
    return separated or places


def every_place(vector: PersonaVector, side: Side) -> list[Place]:
    """Every block and span where the pole has a direction, each to be steered at the positions of its own. SetupError
    where there is none."""
    places = [
        Place(block, span, span)
        for block in range(vector.n_layers)
        for span in SPANS
        if vector.direction(side, span, block).any()
    ]
    if not places:
        raise SetupError(f"the {side} instructions of {vector.trait!r} change nothing in {vector.model_id}")
    return places


def around(places: Iterable[tuple[Place, float]]) -> list[Trial]:
    """Trials of each place at finer doses around the one that is given with it."""
    return [place.trial(dose * step) for place, dose in places for step in DOSE_STEPS]


def coherent_range(outcomes: Iterable[Outcome], unsteered: Outcome) -> tuple[float, float]:
    """From 0 to the last coefficient before answers lose more than a quarter of the unsteered coherence."""
    end = 0.0
    for outcome in sorted(outcomes, key=lambda outcome: outcome.trial.coefficient):
        if outcome.coherence < MIN_COHERENT_SHARE * unsteered.coherence:
            break  # what comes after a gap is not in the range, however coherent it looks
        end = outcome.trial.coefficient
    return 0.0, end


def confirm(trials: Trials, gains: Iterable[PlaceGain]) -> list[Outcome]:
    """The places of the largest gains, tried by generating."""
    # Likelihood says where answers move, not what a reader makes of them: several places are tried for real.
    best = sorted(gains, key=lambda found: (-found.gain, found.relative_dose))[:N_PLACES]
    places = [(Place.of(found), found.relative_dose) for found in best]
    return trials.measure(around(places), N_SAMPLES, BEST_PLACES)


def _measured(trials: Trials, tried: Sequence[Outcome]) -> tuple[PoleChoice, list[CurvePoint]]:
    """The best of what was tried, with its measured range and score; and the points of all that was tried and of its
    controls."""
    best = pick(tried)
    choice = best.trial.choice
    if choice is None:
        raise AssertionError("an unsteered trial was picked")
    (unsteered,) = trials.measure([Trial(None)], N_SAMPLES, NOT_STEERED)
    # Every sample its own direction: a single random one may land on something by luck.
    randoms = trials.measure([Trial(choice, random=number) for number in range(N_SAMPLES)], 1, RANDOM_VECTORS)
    others = [Trial(choice, coefficient) for coefficient in OTHER_COEFFICIENTS]
    doses = trials.measure(others, N_SAMPLES, COEFFICIENTS)
    measured_range = coherent_range([best, *doses], unsteered)
    chosen = dataclasses.replace(choice, score=best.score, measured_range=measured_range)
    random = Outcome(Trial(choice, random=0), [score for outcome in randoms for score in outcome.scores])
    return chosen, [curve_point(trials.side, outcome) for outcome in (*tried, *doses, unsteered, random)]


def _separation(vector: PersonaVector, place: Place) -> float:
    return vector.separation[place.span][place.block] if place.span in vector.separation else 1.0

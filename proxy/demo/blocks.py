"""How good the choice of places is: beside brute force, which tries every block and span by generating.

Both choose by the first half of the evaluate questions; what each chose then answers the second half, at seeds both
share. Brute force is what the choice is measured by and far too slow to be used instead.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from proxy.engines.base import Engine
from proxy.steering.gain import DOSES, make_texts, measure_gains
from proxy.steering.judge import Judge
from proxy.steering.placement import N_PLACEMENT_QUESTIONS, N_SAMPLES, around, confirm, every_place, screened
from proxy.steering.statistics import auroc
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import Outcome, Place, Trial, Trials, pick
from proxy.steering.work import Progress, Work
from vector_store import SIDES, PersonaVector, PlaceGain, Side

N_BRUTE_PLACES = 4  # of the coarse pass, tried again at finer doses
N_HELD_OUT = 8  # answers to each question of the second half
WORKS = 0.8  # of the best place's coarse score: what counts as a place that works
T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """One pole: what was chosen, what brute force chose, and how both and no steering do on the second half."""

    pole: str
    chosen: Outcome
    brute: Outcome
    unsteered: Outcome
    told: Mapping[str, float]  # how well each number known beforehand tells places that work from the others: AUROC
    chosen_s: float
    brute_s: float

    @property
    def miss(self) -> float:
        """How much less the choice scores."""
        return self.brute.score - self.chosen.score

    @property
    def missed(self) -> bool:
        """By more than two standard errors of the difference."""
        return self.miss > 2 * float(np.hypot(self.brute.standard_error, self.chosen.standard_error))


def compare(
    engine: Engine, traits: Mapping[str, Trait], vectors: Mapping[str, PersonaVector], judge: Judge, progress: Progress
) -> list[Comparison]:
    """Every pole of every trait. Blocks for minutes."""
    return [
        _compare(engine, trait, vectors[trait.id], judge, side, Work(progress))
        for trait in traits.values()
        for side in SIDES
    ]


def _compare(engine: Engine, trait: Trait, vector: PersonaVector, judge: Judge, side: Side, work: Work) -> Comparison:
    questions = trait.questions_for(engine.info.world).evaluate
    trials = Trials(engine, trait, vector, judge, side, questions[:N_PLACEMENT_QUESTIONS], 0, work)

    def choose() -> tuple[Outcome, list[PlaceGain]]:
        gains = measure_gains(trials, screened(vector, side), make_texts(engine, trait, 0, work))
        return pick(confirm(trials, gains)), gains

    (chosen, gains), chosen_s = _timed(choose)
    (brute, scores), brute_s = _timed(lambda: _brute_force(trials))
    held_out = Trials(engine, trait, vector, judge, side, questions[N_PLACEMENT_QUESTIONS:], 1, work)
    tried = [chosen.trial, brute.trial, Trial(None)]
    chosen, brute, unsteered = held_out.measure(tried, N_HELD_OUT, "the other questions")
    told = _told(vector, gains, scores)
    return Comparison(trait.pole(side), chosen, brute, unsteered, told, chosen_s, brute_s)


def _brute_force(trials: Trials) -> tuple[Outcome, dict[Place, float]]:
    """The choice, and each place's best coarse score."""
    places = every_place(trials.vector, trials.side)
    coarse = trials.measure([place.trial(dose) for place in places for dose in DOSES], 1, "every place")
    best: dict[Place, Outcome] = {}
    for outcome in sorted(coarse, key=lambda outcome: (-outcome.score, outcome.trial.dose)):
        if outcome.trial.choice is not None:
            best.setdefault(Place.of(outcome.trial.choice), outcome)
    doses = [(place, outcome.trial.dose) for place, outcome in best.items()][:N_BRUTE_PLACES]
    tried = trials.measure(around(doses), N_SAMPLES, "brute force's best places")
    return pick(tried), {place: outcome.score for place, outcome in best.items()}


def _told(vector: PersonaVector, gains: Sequence[PlaceGain], scores: Mapping[Place, float]) -> dict[str, float]:
    known = {"gain": {Place.of(found): found.gain for found in gains}}
    for name, by_span in (("separation", vector.separation), ("agreement", vector.agreement)):
        known[name] = {place: by_span[place.span][place.block] for place in scores if place.span in by_span}
    needed = WORKS * max(scores.values())
    told: dict[str, float] = {}
    for name, values in known.items():
        works = np.array([value for place, value in values.items() if scores[place] >= needed], np.float32)
        others = np.array([value for place, value in values.items() if scores[place] < needed], np.float32)
        if len(works) and len(others):
            told[name] = auroc(works, others)
    return told


def _timed(do: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return do(), time.perf_counter() - start


def tables(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Markdown: each pole's places and scores, and below it what they come to."""
    yield "| pole | chosen | brute force | score, chosen | score, brute force | not steered | missed by |"
    yield "|---" * 7 + "|"
    for row in comparisons:
        scores = (row.chosen.score, row.brute.score, row.unsteered.score, row.miss)
        cells = (row.pole, _words(row.chosen), _words(row.brute), *(f"{score:.2f}" for score in scores))
        yield f"| {' | '.join(cells)} |"


def findings(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """What they come to, in words."""
    n, misses = len(comparisons), [row.miss for row in comparisons]
    n_missed = sum(row.missed for row in comparisons)
    yield f"missed by more than two standard errors: {n_missed} of {n}"
    yield f"scores less than brute force by {np.mean(misses):.3f} on average, {max(misses):.2f} at worst"
    for name in ("separation", "agreement", "gain"):
        values = [row.told[name] for row in comparisons if name in row.told]
        if values:
            yield f"{name} tells places that work from others: AUROC {np.mean(values):.2f}, {min(values):.2f} at worst"
    chosen_s, brute_s = sum(row.chosen_s for row in comparisons) / n, sum(row.brute_s for row in comparisons) / n
    yield f"seconds a pole: {chosen_s:.0f}, brute force {brute_s:.0f}"


def _words(outcome: Outcome) -> str:
    choice = outcome.trial.choice
    return f"block {choice.block}, {choice.span}, {choice.relative_dose:.2f}" if choice else "none"

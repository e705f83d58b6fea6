"""Where and how strongly to steer: the block, span, positions and dose of each pole, chosen by trying them.

Every candidate answers the first half of a trait's evaluate questions; the other half is for reporting. First all
blocks at a few doses, then the best places at finer doses and with more answers. Everything tried is kept as the
vector's curve, beside its controls. Knows nothing of how the vector was made.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from proxy.engines.base import Engine, FloatArray, Generation, Plan, Sampling
from proxy.errors import SetupError
from proxy.protocol.steering import SteeringOptions
from proxy.steering.asking import MAX_TOKENS, answer_tokens, messages
from proxy.steering.extract import JUDGING
from proxy.steering.judge import SCORES, Answer, Judge, Score
from proxy.steering.plan import build_plan
from proxy.steering.traits import Trait
from proxy.steering.work import Work
from vector_store import SIDES, SPANS, CurvePoint, PersonaVector, PoleChoice, Positions, Side, Span

N_QUESTIONS = 10  # the first half of the evaluate questions
TEMPERATURE = 0.7
COARSE_DOSES = (0.25, 0.5, 1.0, 2.0)
FINE_STEPS = (0.5**0.5, 1.0, 2**0.5)  # times the best coarse dose of a place
N_FINE_PLACES = 4
N_SAMPLES = 4  # answers to each question, in all but the coarse pass
OTHER_COEFFICIENTS = (0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0)  # 1 is measured by choosing the dose
MIN_COHERENCE = 0.75  # of the unsteered coherence: the end of the measured range
EVERY_BLOCK, BEST_BLOCKS, NOT_STEERED = "every block", "the best blocks", "not steered"  # what is tried, in words
RANDOM_VECTORS, COEFFICIENTS = "random vectors", "coefficients"
MIN_SCORED = 0.5  # share of a trial's answers the judge could score; with fewer the trial does not count


class Place(NamedTuple):
    """Where a direction is taken from, and where it is added."""

    block: int
    span: Span
    positions: Positions


@dataclass(frozen=True)
class Trial:
    """One way to steer: `choice` at `coefficient`, in the pole's own direction, or the `random`th of the random ones;
    no choice is no steering."""

    choice: PoleChoice | None
    coefficient: float = 1.0
    random: int | None = None

    @property
    def kind(self) -> Literal["steered", "random", "unsteered"]:
        if self.choice is None:
            return "unsteered"
        return "steered" if self.random is None else "random"


@dataclass(frozen=True)
class Outcome:
    """What the judge said of a trial's answers."""

    trial: Trial
    scores: list[Score]

    @property
    def products(self) -> FloatArray:
        """float32[n], 0 to 1: trait x coherence of each answer."""
        return np.array([score.trait * score.coherence / 1e4 for score in self.scores], dtype=np.float32)

    @property
    def score(self) -> float:
        return float(self.products.mean())

    @property
    def coherence(self) -> float:
        return float(np.mean([score.coherence for score in self.scores]))

    @property
    def standard_error(self) -> float:
        """Of the score. One made-up answer at each extreme keeps a run of equal ones from looking exact."""
        return float(np.std(np.append(self.products, (0, 1))) / len(self.products) ** 0.5)


def choose(
    engine: Engine, trait: Trait, vector: PersonaVector, judge: Judge, *, seed: int, work: Work
) -> PersonaVector:
    """The vector with both poles' choices and the whole curve filled in. Blocks for minutes."""
    poles: dict[Side, PoleChoice] = {}
    curve: list[CurvePoint] = []
    for side in SIDES:
        search = Search(engine, trait, vector, judge, side, seed, work)
        poles[side], points = search.run()
        curve += points
    return dataclasses.replace(vector, poles=poles, curve=curve)


def stages(trait: Trait, n_layers: int) -> dict[str, float]:
    """What the work reports while it chooses, in order, and about how much each is, in answers to be made."""
    more = N_QUESTIONS * N_SAMPLES
    sizes = {
        EVERY_BLOCK: n_layers * len(SPANS) * len(COARSE_DOSES) * N_QUESTIONS,
        BEST_BLOCKS: N_FINE_PLACES * len(FINE_STEPS) * more,
        NOT_STEERED: more,
        RANDOM_VECTORS: more,
        COEFFICIENTS: len(OTHER_COEFFICIENTS) * more,
    }
    found: dict[str, float] = {}
    for side, (what, size) in itertools.product(SIDES, sizes.items()):
        label = label_of(trait, side, what)
        found |= {label: size, f"{label}, judging": JUDGING * size}
    return found


def label_of(trait: Trait, side: Side, what: str) -> str:
    return f"{trait.pole(side)}: {what}"


@dataclass(frozen=True)
class Search:
    """The search for one pole's choice."""

    engine: Engine
    trait: Trait
    vector: PersonaVector
    judge: Judge
    side: Side
    seed: int
    work: Work

    def run(self) -> tuple[PoleChoice, list[CurvePoint]]:
        """The pole's choice, with its measured range and score, and everything that was tried."""
        coarse = self.measure(coarse_trials(self.vector, self.side), 1, EVERY_BLOCK)
        fine = self.measure(fine_trials(coarse), N_SAMPLES, BEST_BLOCKS)
        best = pick(fine)
        choice = best.trial.choice
        if choice is None:
            raise AssertionError("an unsteered trial was picked")
        (unsteered,) = self.measure([Trial(None)], N_SAMPLES, NOT_STEERED)
        # Every sample its own direction: a single random one may land on something by luck.
        randoms = self.measure([Trial(choice, random=number) for number in range(N_SAMPLES)], 1, RANDOM_VECTORS)
        others = [Trial(choice, coefficient) for coefficient in OTHER_COEFFICIENTS]
        doses = self.measure(others, N_SAMPLES, COEFFICIENTS)
        measured_range = coherent_range([best, *doses], unsteered)
        chosen = dataclasses.replace(choice, score=best.score, measured_range=measured_range)
        random = Outcome(Trial(choice, random=0), [score for outcome in randoms for score in outcome.scores])
        points = [curve_point(self.side, outcome) for outcome in (*coarse, *fine, *doses, unsteered, random)]
        return chosen, points

    def measure(self, trials: Sequence[Trial], n_samples: int, what: str) -> list[Outcome]:
        """Each trial's answers to the questions, `n_samples` to each, all in one stream of batches, judged.

        The same question and sample has the same seed in every trial, so trials differ by their steering alone.
        A trial that could hardly be scored is left out; SetupError where none could.
        """
        questions = self.trait.questions_for(self.engine.info.world).evaluate[:N_QUESTIONS]
        prompts = [self.engine.render(messages(None, question)) for question in questions]
        asked = list(itertools.product(range(len(questions)), range(n_samples)))
        generations = [
            self._generation(prompts[question], plan, question, sample)
            for plan in map(self._plan, trials)
            for question, sample in asked
        ]
        name, label = f"{self.side}-{what.replace(' ', '-')}", label_of(self.trait, self.side, what)
        completions = self.work.answers(f"{name}-answers", label, self.engine, generations)
        answers = [
            Answer(questions[question], completion.text, self.trait, self.side)
            for completion, (question, _) in zip(completions, asked * len(trials), strict=True)
        ]
        parts = self.work.in_parts(f"{name}-scores", f"{label}, judging", answers, SCORES, self.judge.score)
        judged = [score for part in parts for score in part]
        scores = [judged[start : start + len(asked)] for start in range(0, len(judged), len(asked))]
        outcomes = [
            Outcome(trial, [score for score in row if score is not None])
            for trial, row in zip(trials, scores, strict=True)
        ]
        scored = [outcome for outcome in outcomes if len(outcome.scores) >= MIN_SCORED * len(asked)]
        if not scored:
            raise SetupError(f"none of the answers for {self.trait.pole(self.side)!r} could be scored")
        return scored

    def _generation(self, prompt: list[int], plan: Plan, question: int, sample: int) -> Generation:
        sampling = Sampling(
            max_tokens=answer_tokens(self.engine, prompt, MAX_TOKENS),
            temperature=TEMPERATURE,
            seed=self.seed * 1_000_000 + sample * 1_000 + question,
        )
        return Generation(prompt, sampling, plan)

    def _plan(self, trial: Trial) -> Plan:
        if trial.choice is None:
            return Plan()
        vector = dataclasses.replace(self.vector, poles={self.side: trial.choice})
        if trial.random is not None:
            vector = with_random_direction(vector, self.side, self.seed, trial.random)
        pole = self.trait.pole(self.side)
        options = SteeringOptions()
        return build_plan({pole: trial.coefficient}, {pole: (vector, self.side)}, options, self.engine.info)[0]


def coarse_trials(vector: PersonaVector, side: Side) -> list[Trial]:
    """Every block and both spans, each steered at its own positions, at every coarse dose. Places where the pole's
    mean is exactly the neutral one have no direction and are left out; SetupError where that is so everywhere."""
    places = [
        Place(block, span, span)
        for block in range(vector.n_layers)
        for span in SPANS
        if vector.direction(side, span, block).any()
    ]
    if not places:
        raise SetupError(f"the {side} instructions of {vector.trait!r} change nothing in {vector.model_id}")
    return [_trial(place, dose) for place in places for dose in COARSE_DOSES]


def fine_trials(coarse: Iterable[Outcome]) -> list[Trial]:
    """The best places of the coarse pass, each around its best dose."""
    best: dict[Place, Outcome] = {}
    for outcome in sorted(coarse, key=lambda outcome: (-outcome.score, _dose(outcome))):
        best.setdefault(_place(outcome), outcome)
    return [
        _trial(place, _dose(outcome) * step)
        for place, outcome in itertools.islice(best.items(), N_FINE_PLACES)
        for step in FINE_STEPS
    ]


def pick(outcomes: Sequence[Outcome]) -> Outcome:
    """The best score; of those within one standard error of it, the one with the smallest dose."""
    best = max(outcomes, key=lambda outcome: outcome.score)
    ties = [outcome for outcome in outcomes if outcome.score >= best.score - best.standard_error]
    return min(ties, key=lambda outcome: (_dose(outcome), -outcome.score))


def coherent_range(outcomes: Iterable[Outcome], unsteered: Outcome) -> tuple[float, float]:
    """From 0 to the last coefficient before answers lose more than a quarter of the unsteered coherence."""
    end = 0.0
    for outcome in sorted(outcomes, key=lambda outcome: outcome.trial.coefficient):
        if outcome.coherence < MIN_COHERENCE * unsteered.coherence:
            break
        end = outcome.trial.coefficient
    return 0.0, end


def curve_point(side: Side, outcome: Outcome) -> CurvePoint:
    """An outcome as the vector's file keeps it."""
    choice = outcome.trial.choice
    return CurvePoint(
        side=side,
        kind=outcome.trial.kind,
        block=choice.block if choice else None,
        span=choice.span if choice else None,
        positions=choice.positions if choice else None,
        relative_dose=_dose(outcome),
        trait=float(np.mean([score.trait for score in outcome.scores])),
        coherence=outcome.coherence,
        score=outcome.score,
        n=len(outcome.scores),
    )


def with_random_direction(vector: PersonaVector, side: Side, seed: int, number: int) -> PersonaVector:
    """The vector with the side's direction, at its chosen block and span, replaced by a random one of equal norm."""
    choice = vector.poles[side]
    direction = vector.direction(side, choice.span, choice.block)
    drawn = np.random.default_rng((seed, number)).standard_normal(direction.shape).astype(np.float32)
    drawn *= np.linalg.norm(direction) / np.linalg.norm(drawn)
    if vector.difference is not None:
        rows = vector.difference.copy()
        rows[choice.block] = drawn if side == "positive" else -drawn
        return dataclasses.replace(vector, difference=rows)
    means: Mapping[Span, dict] = {span: dict(conditions) for span, conditions in vector.means.items()}
    changed = means[choice.span][side].copy()
    changed[choice.block] = means[choice.span]["neutral"][choice.block] + drawn
    means[choice.span][side] = changed
    return dataclasses.replace(vector, means=means)


def _trial(place: Place, dose: float) -> Trial:
    return Trial(PoleChoice(block=place.block, span=place.span, positions=place.positions, relative_dose=dose))


def _place(outcome: Outcome) -> Place:
    choice = outcome.trial.choice
    if choice is None:
        raise ValueError("an unsteered trial has no place")
    return Place(choice.block, choice.span, choice.positions)


def _dose(outcome: Outcome) -> float:
    choice = outcome.trial.choice
    return choice.relative_dose * outcome.trial.coefficient if choice else 0.0

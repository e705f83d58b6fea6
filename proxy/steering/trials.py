"""Ways to steer, tried: each answers the same questions under its own plan, and a judge says what came of it.

Places, doses and controls are tried alike, so that they compare. Knows nothing of which of them are worth trying.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np

from proxy.engines.base import Engine, FloatArray, Generation, Plan, Sampling
from proxy.errors import SetupError
from proxy.steering.asking import MAX_TOKENS, answer_tokens, messages
from proxy.steering.judge import SCORES, Answer, Judge, Score
from proxy.steering.judge.base import MIN_SCORED
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import Against, CurvePoint, PersonaVector, PlaceGain, PoleChoice, Positions, Side, Span

TEMPERATURE = 0.7


class Place(NamedTuple):
    """Where a direction is taken from, where it is added, and what it is counted from."""

    block: int
    span: Span
    positions: Positions
    against: Against = "neutral"

    @classmethod
    def of(cls, known: PoleChoice | PlaceGain) -> Self:
        """The place of a pole's choice or gain."""
        return cls(known.block, known.span, known.positions, known.against)

    def trial(self, dose: float) -> "Trial":
        """Steering here at a relative dose."""
        return Trial(PoleChoice(**self._asdict(), relative_dose=dose))


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

    @property
    def dose(self) -> float:
        """The relative dose, coefficient and all."""
        return self.choice.relative_dose * self.coefficient if self.choice else 0.0


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
        """The mean of the products, 0 to 1."""
        return float(self.products.mean())

    @property
    def coherence(self) -> float:
        return float(np.mean([score.coherence for score in self.scores]))

    @property
    def standard_error(self) -> float:
        """The standard error of the score. One made-up answer at each extreme keeps a run of equal ones from looking
        exact."""
        return float(np.std(np.append(self.products, (0, 1))) / len(self.products) ** 0.5)


@dataclass(frozen=True)
class Trials:
    """The trials of one pole, each of which is asked all of `questions`, for answers of at most `max_tokens`."""

    engine: Engine
    trait: Trait
    vector: PersonaVector
    judge: Judge
    side: Side
    questions: Sequence[str]
    seed: int
    work: Work
    max_tokens: int = MAX_TOKENS

    def measure(self, trials: Sequence[Trial], n_samples: int, what: str) -> list[Outcome]:
        """Each trial's answers to the questions, `n_samples` to each, all in one stream of batches, judged.

        The same question and sample has the same seed in every trial, so trials differ by their steering alone.
        A trial that could hardly be scored is left out; SetupError where none could.
        """
        prompts = [self.engine.render(messages(None, question)) for question in self.questions]
        asked = list(itertools.product(range(len(self.questions)), range(n_samples)))
        generations = [
            self._generation(prompts[question], plan, question, sample)
            for plan in map(self.plan, trials)
            for question, sample in asked
        ]
        name, label = f"{self.side}-{what.replace(' ', '-')}", label_of(self.trait, self.side, what)
        completions = self.work.answers(f"{name}-answers", label, self.engine, generations)
        answers = [
            Answer(self.questions[question], completion.text, self.trait, self.side)
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
            max_tokens=answer_tokens(self.engine, prompt, self.max_tokens),
            temperature=TEMPERATURE,
            seed=seed_of(self.seed, Purpose.CHOOSING_PLACES, question, sample),
        )
        return Generation(prompt, sampling, plan)

    def plan(self, trial: Trial) -> Plan:
        """What the trial's answers are steered by."""
        if trial.choice is None:
            return Plan()
        vector = dataclasses.replace(self.vector, poles={**self.vector.poles, self.side: trial.choice})
        if trial.random is not None:
            vector = with_random_direction(vector, self.side, self.seed, trial.random)
        pole = self.trait.pole(self.side)
        options = PlanOptions()
        return build_plan({pole: trial.coefficient}, {pole: (vector, self.side)}, options, self.engine.info)[0]


def label_of(trait: Trait, side: Side, what: str) -> str:
    """What the work is told is being done for a pole."""
    return f"{trait.pole(side)}: {what}"


def pick(outcomes: Sequence[Outcome]) -> Outcome:
    """The best score; of those within one standard error of it, the one with the smallest dose."""
    best = max(outcomes, key=lambda outcome: outcome.score)
    ties = [outcome for outcome in outcomes if outcome.score >= best.score - best.standard_error]
    return min(ties, key=lambda outcome: (outcome.trial.dose, -outcome.score))


def curve_point(side: Side, outcome: Outcome) -> CurvePoint:
    """An outcome as the vector's file keeps it."""
    choice = outcome.trial.choice
    return CurvePoint(
        side=side,
        kind=outcome.trial.kind,
        block=choice.block if choice else None,
        span=choice.span if choice else None,
        positions=choice.positions if choice else None,
        relative_dose=outcome.trial.dose,
        trait=float(np.mean([score.trait for score in outcome.scores])),
        coherence=outcome.coherence,
        score=outcome.score,
        n=len(outcome.scores),
    )


def with_random_direction(vector: PersonaVector, side: Side, seed: int, number: int) -> PersonaVector:
    """The vector with the side's direction, at its chosen block and span, replaced by a random one of equal norm."""
    drawn = np.random.default_rng((seed, number)).standard_normal(vector.hidden_size).astype(np.float32)
    return with_direction(vector, side, drawn)


def with_direction(vector: PersonaVector, side: Side, other: FloatArray) -> PersonaVector:
    """The vector with the side's direction, at its chosen block and span, replaced by `other`, made as long as it.
    `other` is float32[hidden_size] and not zero."""
    choice = vector.poles[side]
    length = np.linalg.norm(vector.direction(side, choice.span, choice.block))
    other = other * (length / np.linalg.norm(other))
    if vector.difference is not None:
        rows = vector.difference.copy()
        rows[choice.block] = other if side == "positive" else -other
        return dataclasses.replace(vector, difference=rows)
    means = {span: dict(conditions) for span, conditions in vector.means.items()}
    changed = means[choice.span][side].copy()
    changed[choice.block] = means[choice.span][vector.against(side)][choice.block] + other
    means[choice.span][side] = changed
    return dataclasses.replace(vector, means=means)

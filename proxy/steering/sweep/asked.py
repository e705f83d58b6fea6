"""Everything a sweep asks the model: which answers, in which order, and each as a generation with its own plan.

Knows nothing of what the answers are worth.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from proxy.engines.base import Engine, Generation, ModelInfo, Plan, Sampling
from proxy.steering.asking import answer_tokens, messages
from proxy.steering.options import PlanOptions
from proxy.steering.placement import N_PLACEMENT_QUESTIONS
from proxy.steering.plan import build_plan
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.sweep.options import SweepOptions
from proxy.steering.sweep.others import with_other
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import TEMPERATURE, with_random_direction
from vector_store import PersonaVector, Side, SweepKind


class Arm(NamedTuple):
    """One way to get answers. No steering has no side: it is both poles' control."""

    kind: SweepKind
    side: Side | None = None
    coefficient: float = 0.0


UNSTEERED = Arm("unsteered")
CHOSEN_BY: tuple[SweepKind, ...] = ("unsteered", "steered")  # the arms that are asked the first half too


class SweepCell(NamedTuple):
    """One answer: in which way, to which of the evaluate questions, and which sample."""

    arm: Arm
    question: int
    sample: int


def strengths(options: SweepOptions, *, wrong_trait: bool) -> list[list[Arm]]:
    """The arms, those of one strength together, from no steering outwards. `wrong_trait`: other traits' directions are
    among the controls."""
    values = sorted({value for side in options.sides for value in options.of(side)})
    kinds: tuple[SweepKind, ...] = ("steered", "random", "wrong_trait") if wrong_trait else ("steered", "random")
    return [
        [UNSTEERED, *(Arm("prompt", side) for side in options.sides)],
        *(
            [Arm(kind, side, value) for kind in kinds for side in options.sides if value in options.of(side)]
            for value in values
        ),
    ]


def listed(arms: Sequence[Arm], options: SweepOptions) -> list[SweepCell]:
    """What is asked in these ways: every arm's answer to the first question, then to the next, so that arms share each
    batch. The first half of the questions is for choosing and does without the controls that are only reported; of
    other traits' directions, which answer in turn, one answer to each question is enough."""
    return [
        SweepCell(arm, question, sample)
        for question in asked_questions(options)
        for sample in range(options.samples)
        for arm in arms
        if (question >= N_PLACEMENT_QUESTIONS or arm.kind in CHOSEN_BY) and (arm.kind != "wrong_trait" or sample == 0)
    ]


def all_listed(options: SweepOptions, *, wrong_trait: bool) -> list[SweepCell]:
    """Everything that is asked, one strength after the other, so that a strength is measured before all are."""
    return [cell for arms in strengths(options, wrong_trait=wrong_trait) for cell in listed(arms, options)]


def asked_questions(options: SweepOptions) -> list[int]:
    """The evaluate questions that are asked: the first of those for choosing, then the first of those for reporting."""
    return [half + number for half in (0, N_PLACEMENT_QUESTIONS) for number in range(options.questions)]


def generations(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    asked: Sequence[SweepCell],
    options: SweepOptions,
    others: Sequence[PersonaVector] = (),
) -> list[Generation]:
    """A generation for each cell that is asked. The same question and sample has the same seed in every arm, so that
    arms differ by their steering alone. `others` are vectors of other traits that can stand in the place of this."""
    questions = trait.questions_for(engine.info.world).evaluate

    @cache
    def prompt(instruction: str | None, question: int) -> list[int]:
        return engine.render(messages(instruction, questions[question]))

    plans = Plans(engine.info, vector, others, options.seed, options.samples)
    made = []
    for arm, question, sample in asked:
        tokens = prompt(_instruction(trait, arm, question + sample), question)
        sampling = Sampling(
            max_tokens=answer_tokens(engine, tokens, options.max_tokens),
            temperature=TEMPERATURE,
            seed=seed_of(options.seed, Purpose.SWEEPING, question, sample),
        )
        made.append(Generation(tokens, sampling, plans.of(arm, question, sample)))
    return made


class Plans:
    """What answers are steered by. `others` are vectors of other traits that can stand in the place of this one,
    `samples` the answers to each question."""

    def __init__(
        self, info: ModelInfo, vector: PersonaVector, others: Sequence[PersonaVector], seed: int, samples: int
    ) -> None:
        self._info, self._vector, self._others, self._seed, self._samples = info, vector, others, seed, samples
        self._made: dict[tuple[Arm, int], Plan] = {}

    def of(self, arm: Arm, question: int, sample: int) -> Plan:
        """What an arm's answer is steered by. A single direction may land on something by luck, so that random ones are
        others for every sample of either pole, and those of other traits take turns from question to question."""
        number = 0
        if arm.kind == "random":
            number = sample + self._samples * (arm.side == "negative")
        elif arm.kind == "wrong_trait":
            number = question
        if (arm, number) not in self._made:
            self._made[arm, number] = self._plan(arm, number)
        return self._made[arm, number]

    def _plan(self, arm: Arm, number: int) -> Plan:
        if arm.side is None or arm.kind == "prompt":
            return Plan()
        vector, pole = self._vector, self._vector.pole(arm.side)
        if arm.kind == "random":
            vector = with_random_direction(vector, arm.side, self._seed, number)
        elif arm.kind == "wrong_trait":
            vector = with_other(vector, arm.side, self._others, number)
        return build_plan({pole: arm.coefficient}, {pole: (vector, arm.side)}, PlanOptions(), self._info)[0]


def _instruction(trait: Trait, arm: Arm, number: int) -> str | None:
    """The system prompt of the arm that asks by one, the trait's instructions in turn; None in every other arm."""
    if arm.kind != "prompt" or arm.side is None:
        return None
    return trait.instructions[number % len(trait.instructions)].side(arm.side)

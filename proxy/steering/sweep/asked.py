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
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import TEMPERATURE, with_random_direction
from vector_store import SIDES, PersonaVector, Side, SweepKind


class Arm(NamedTuple):
    """One way to get answers. No steering has no side: it is both poles' control."""

    kind: SweepKind
    side: Side | None = None
    coefficient: float = 0.0


UNSTEERED = Arm("unsteered")


class SweepCell(NamedTuple):
    """One answer: in which way, to which of the evaluate questions, and which sample."""

    arm: Arm
    question: int
    sample: int


def listed(options: SweepOptions) -> list[SweepCell]:
    """Everything that is asked: every arm's answer to the first question, then to the next, so that all arms share each
    batch. The first half of the questions is for choosing and does without the controls that are only reported."""
    steered = [Arm("steered", side, value) for side in SIDES for value in options.of(side)]
    controls = [Arm("random", arm.side, arm.coefficient) for arm in steered]
    controls += [Arm("prompt", side) for side in options.sides]
    return [
        SweepCell(arm, question, sample)
        for question in asked_questions(options)
        for sample in range(options.samples)
        for arm in (UNSTEERED, *steered, *(controls if question >= N_PLACEMENT_QUESTIONS else ()))
    ]


def asked_questions(options: SweepOptions) -> list[int]:
    """The evaluate questions that are asked: the first of those for choosing, then the first of those for reporting."""
    return [half + number for half in (0, N_PLACEMENT_QUESTIONS) for number in range(options.questions)]


def generations(
    engine: Engine, trait: Trait, vector: PersonaVector, asked: Sequence[SweepCell], options: SweepOptions
) -> list[Generation]:
    """A generation for each cell that is asked. The same question and sample has the same seed in every arm, so that
    arms differ by their steering alone."""
    questions = trait.questions_for(engine.info.world).evaluate

    @cache
    def prompt(instruction: str | None, question: int) -> list[int]:
        return engine.render(messages(instruction, questions[question]))

    @cache
    def plan(arm: Arm, number: int) -> Plan:
        return _plan(arm, number, vector, options.seed, engine.info)

    made = []
    for arm, question, sample in asked:
        tokens = prompt(_instruction(trait, arm, question + sample), question)
        sampling = Sampling(
            max_tokens=answer_tokens(engine, tokens, options.max_tokens),
            temperature=TEMPERATURE,
            seed=seed_of(options.seed, Purpose.SWEEPING, question, sample),
        )
        # Every sample of either pole has its own random direction: a single one may land on something by luck.
        number = sample + options.samples * (arm.side == "negative") if arm.kind == "random" else 0
        made.append(Generation(tokens, sampling, plan(arm, number)))
    return made


def _instruction(trait: Trait, arm: Arm, number: int) -> str | None:
    """The system prompt of the arm that asks by one, the trait's instructions in turn; None in every other arm."""
    if arm.kind != "prompt" or arm.side is None:
        return None
    return trait.instructions[number % len(trait.instructions)].side(arm.side)


def _plan(arm: Arm, number: int, vector: PersonaVector, seed: int, info: ModelInfo) -> Plan:
    if arm.side is None or arm.kind == "prompt":
        return Plan()
    if arm.kind == "random":
        vector = with_random_direction(vector, arm.side, seed, number)
    pole = vector.pole(arm.side)
    return build_plan({pole: arm.coefficient}, {pole: (vector, arm.side)}, PlanOptions(), info)[0]

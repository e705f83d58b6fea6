"""Answers to calibrate and to validate judges with: a model's own, under a trait's instructions and under none.

Answers to validate with are held out: other questions, under other instructions and behind other demonstrations than a
judge may be calibrated with.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engines.base import Engine, Generation, Sampling
from proxy.steering.asking import MAX_TOKENS, answer_tokens, under
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.traits.trait import N_INSTRUCTIONS, N_QUESTIONS, Trait
from proxy.steering.work import Work
from vector_store import CONDITIONS, SIDES, Condition

CALIBRATING_PAIRS = range(2)  # of the trait's instruction pairs
HELD_OUT_PAIRS = range(2, N_INSTRUCTIONS)
N_HELD_OUT = 2  # answers to each question for each pole


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer to a question, and what it was asked to show."""

    condition: Condition
    question: str
    text: str


@dataclass(frozen=True)
class Asking:
    """How answers to judge judges by are asked for: of at most `max_tokens`, at `temperature`. `held_out`: of how many
    evaluate questions, each asked `times` for either pole, under the pairs from `first_held_out` on."""

    max_tokens: int = MAX_TOKENS
    temperature: float = 1.0
    held_out: int = N_QUESTIONS
    times: int = N_HELD_OUT
    first_held_out: int = HELD_OUT_PAIRS.start

    @property
    def n_held_out(self) -> int:
        """How many answers are held out."""
        return self.held_out * self.times * len(SIDES)


USUAL_ASKING = Asking()


def calibration_samples(engine: Engine, trait: Trait, seed: int, work: Work) -> list[LabelledAnswer]:
    """An answer to every extract question under each condition, the pairs taken in turn. Blocks."""
    questions = trait.questions_for(engine.info.world).extract
    wanted = [
        (condition, CALIBRATING_PAIRS[number % len(CALIBRATING_PAIRS)], question)
        for (number, question), condition in itertools.product(enumerate(questions), CONDITIONS)
    ]
    return _samples(
        engine, trait, wanted, seed, Purpose.CALIBRATING_JUDGES, work, "judge-calibration", calibration_label(trait)
    )


def held_out_samples(
    engine: Engine, trait: Trait, seed: int, work: Work, asking: Asking = USUAL_ASKING
) -> list[LabelledAnswer]:
    """Answers to evaluate questions for each pole, the held-out pairs taken in turn. Blocks."""
    questions = trait.questions_for(engine.info.world).evaluate[: asking.held_out]
    pairs = range(asking.first_held_out, N_INSTRUCTIONS)
    wanted: list[tuple[Condition, int, str]] = [
        (side, pairs[number % len(pairs)], question)
        for (number, question), side in itertools.product(enumerate(questions * asking.times), SIDES)
    ]
    return _samples(
        engine, trait, wanted, seed, Purpose.VALIDATING_JUDGES, work, "judge-validation", held_out_label(trait), asking
    )


def calibration_label(trait: Trait) -> str:
    return f"{trait.id}: answering, to calibrate the judge"


def held_out_label(trait: Trait) -> str:
    return f"{trait.id}: answering, to validate the judge"


def _samples(
    engine: Engine,
    trait: Trait,
    wanted: Sequence[tuple[Condition, int, str]],
    seed: int,
    purpose: Purpose,
    work: Work,
    name: str,
    label: str,
    asking: Asking = USUAL_ASKING,
) -> list[LabelledAnswer]:
    """The answers to what is wanted, each a condition, an instruction pair and a question."""
    generations = []
    for number, (condition, pair, question) in enumerate(wanted):
        held_out = purpose == Purpose.VALIDATING_JUDGES
        prompt = engine.render(under(condition, trait, pair, question, engine.info.world, held_out=held_out))
        sampling = Sampling(
            answer_tokens(engine, prompt, asking.max_tokens),
            temperature=asking.temperature,
            seed=seed_of(seed, purpose, number),
        )
        generations.append(Generation(prompt, sampling))
    completions = work.answers(name, label, engine, generations)
    return [
        LabelledAnswer(condition, question, completion.text)
        for (condition, _, question), completion in zip(wanted, completions, strict=True)
    ]

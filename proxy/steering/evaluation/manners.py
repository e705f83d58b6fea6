"""How else a pole's direction might be put to use: at other positions, counted from the other mean, taken from the
prompt's end, or held instead of added; each tried on the questions that the vector's own manner is tried on.

What is chosen when a vector is made is its block and dose, by answers that are steered in one manner. This shows what
the others come to, with everything else alike. Changes no vector.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import get_args

import msgspec
import numpy as np

from proxy.engines.base import Engine, Generation, Mode, Plan, Positions, Sampling
from proxy.errors import SetupError
from proxy.steering.asking import answer_tokens, messages
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.judge import SCORES, Answer, Judge
from proxy.steering.options import PlanOptions
from proxy.steering.placement import N_PLACEMENT_QUESTIONS
from proxy.steering.plan import build_plan
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.statistics import difference, measured
from proxy.steering.sweep.unfinished import loops
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import TEMPERATURE
from proxy.steering.work import Work
from vector_store import Against, Measured, PersonaVector, PoleChoice, Side

WHERE: dict[Positions, str] = {"last_prompt": "the last prompt token", "response": "the response", "all": "every token"}
OWN = 1  # the vector's own manner, among those that are tried
COUNTED: dict[Against, str] = {"neutral": "the neutral mean", "opposite": "the opposite pole"}


@dataclasses.dataclass(frozen=True)
class Manner:
    """One manner to steer, by its name in words; no choice is no steering."""

    name: str
    choice: PoleChoice | None
    options: PlanOptions = PlanOptions()


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a manner's `n` answers came to: trait and coherence from 0 to 100, `looping` as a share. `above_own`: the
    95 % interval of how far its trait lies above that of the vector's own manner; None for that one."""

    name: str
    n: int
    trait: Measured | None
    coherence: Measured | None
    looping: Measured | None
    above_own: tuple[float, float] | None


class MannerComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What each manner came to, by pole, as `judge` found."""

    judge: str
    poles: dict[str, list[Compared]]


def manners(vector: PersonaVector, side: Side) -> list[Manner]:
    """No steering, the vector's own manner, and all that differ from it in one thing."""
    own = vector.poles[side]
    found = [Manner("not steered", None), Manner(f"as the vector does: added to {WHERE[own.positions]}", own)]
    found += [
        Manner(f"added to {WHERE[where]}", dataclasses.replace(own, positions=where))
        for where in get_args(Positions)
        if where != own.positions
    ]
    if vector.knows_poles:
        against: Against = "neutral" if own.against == "opposite" else "opposite"
        found.append(Manner(f"counted from {COUNTED[against]}", dataclasses.replace(own, against=against)))
        if own.span != "last_prompt" and "last_prompt" in vector.means:
            prompt = dataclasses.replace(own, span="last_prompt", positions="last_prompt")
            found.append(Manner(f"taken from {WHERE['last_prompt']}, and added there", prompt))
    held = {"target": "held at the pole's level", "cap": "kept from going beyond the pole's level"}
    found += [Manner(f"{held[mode]} ({mode})", own, PlanOptions(mode=mode)) for mode in get_args(Mode) if mode in held]
    return found


def compare(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    side: Side,
    judge: Judge,
    options: VectorEvaluationOptions,
    work: Work,
    coefficient: float = 1.0,
) -> list[Compared]:
    """What each manner comes to at a coefficient, or a level of as much. Blocks. SetupError for a vector of other
    weights, and for a pole that was never placed."""
    if vector.fingerprint != engine.info.fingerprint or side not in vector.poles:
        raise SetupError(f"there is no place to steer for {vector.pole(side)!r} in {engine.info.id}")
    tried = manners(vector, side)
    questions = asked_questions(engine, trait)
    generations = [
        _generation(engine, question, number, sample, _plan(engine, vector, side, manner, coefficient), options)
        for manner in tried
        for number, question in enumerate(questions)
        for sample in range(options.n_samples)
    ]
    made = work.answers(f"{side}-manners", asking_label(vector, side), engine, generations)
    asked = [question for _ in tried for question in questions for _ in range(options.n_samples)]
    answers = [Answer(question, one.text, trait, side) for question, one in zip(asked, made, strict=True)]
    parts = work.in_parts(f"{side}-manners-scores", judging_label(vector, side), answers, SCORES, judge.score)
    judged = [score for part in parts for score in part]
    shape = len(tried), len(questions), options.n_samples
    traits = np.reshape([np.nan if score is None else score.trait for score in judged], shape)
    coherences = np.reshape([np.nan if score is None else score.coherence for score in judged], shape)
    looping = np.reshape([float(loops(one.token_ids)) for one in made], shape)
    return [
        Compared(
            name=manner.name,
            n=len(questions) * options.n_samples,
            trait=measured(traits[at]),
            coherence=measured(coherences[at]),
            looping=measured(looping[at]),
            above_own=None if at == OWN else difference(traits[at], traits[OWN]),
        )
        for at, manner in enumerate(tried)
    ]


def asked_questions(engine: Engine, trait: Trait) -> list[str]:
    """The evaluate questions on which nothing was chosen."""
    return trait.questions_for(engine.info.world).evaluate[N_PLACEMENT_QUESTIONS:]


def stages(engine: Engine, trait: Trait, vector: PersonaVector, options: VectorEvaluationOptions) -> dict[str, float]:
    """What `compare` reports of the poles it is asked for, in order, and about how much each is, in answers."""
    found: dict[str, float] = {}
    for side in vector.poles:
        size = len(manners(vector, side)) * len(asked_questions(engine, trait)) * options.n_samples
        found |= {asking_label(vector, side): size, judging_label(vector, side): 0.25 * size}
    return found


def asking_label(vector: PersonaVector, side: Side) -> str:
    """What the work is told while answers are made."""
    return f"{vector.pole(side)}: comparing manners"


def judging_label(vector: PersonaVector, side: Side) -> str:
    """What the work is told while they are judged."""
    return f"{vector.pole(side)}: judging manners"


def table(pole: str, found: Sequence[Compared]) -> Iterator[str]:
    """The comparison in Markdown."""
    yield f"| {pole} | answers | trait | coherence | looping | difference of trait from the vector's own manner |"
    yield "|---|---|---|---|---|---|"
    for at, one in enumerate(found):
        name = f"**{one.name}**" if at == OWN else one.name
        above = "" if one.above_own is None else f"{round(one.above_own[0])} to {round(one.above_own[1])}"
        shares = _cell(one.looping, 100, " %")
        yield f"| {name} | {one.n} | {_cell(one.trait)} | {_cell(one.coherence)} | {shares} | {above} |"


def _cell(found: Measured | None, scale: float = 1.0, unit: str = "") -> str:
    if found is None:
        return "not measured"
    return f"{found.mean * scale:.0f} ({found.low * scale:.0f} to {found.high * scale:.0f}){unit}"


def _plan(engine: Engine, vector: PersonaVector, side: Side, manner: Manner, coefficient: float) -> Plan:
    if manner.choice is None:
        return Plan()
    vector, pole = dataclasses.replace(vector, poles={**vector.poles, side: manner.choice}), vector.pole(side)
    return build_plan({pole: coefficient}, {pole: (vector, side)}, manner.options, engine.info)[0]


def _generation(
    engine: Engine, question: str, number: int, sample: int, plan: Plan, options: VectorEvaluationOptions
) -> Generation:
    """The same question and sample has the same seed in every manner, and in an evaluation."""
    tokens = engine.render(messages(None, question))
    sampling = Sampling(
        answer_tokens(engine, tokens, options.extent.max_tokens),
        temperature=TEMPERATURE,
        seed=seed_of(options.seed, Purpose.EVALUATING, number, sample),
    )
    return Generation(tokens, sampling, plan)

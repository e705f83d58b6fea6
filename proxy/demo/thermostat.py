"""What holding a level is worth on the demo models, beside adding: the thermostat.

By the world's own rules, on questions nothing was trained or chosen on, over all poles together. First, what adding and
holding cost where both show a pole equally often. Then, what both come to where the system prompt already asks for
something: for the pole, for its opposite, or for a role with a manner of its own. There a cap is tried as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np

from proxy.demo import rules, styles
from proxy.demo.evaluate import MAX_TOKENS, TEMPERATURE
from proxy.engines.base import Engine, FloatArray, Generation, Mode, Plan, Sampling
from proxy.engines.blocking import Completion, generate_all
from proxy.steering.asking import messages
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Progress, counter
from vector_store import SIDES, PersonaVector, Side, opposite

STRENGTHS: dict[Mode, tuple[float, ...]] = {
    "add": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
    "target": (0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
}
EQUAL_AT = (0.5, 0.8)  # shares of answers with the pole at which modes are compared
CAP = 0.3  # the level that is not to be passed
WAYS: tuple[tuple[str, Mode | None, float], ...] = (
    ("unsteered", None, 0.0),
    ("add 1", "add", 1.0),
    ("target 1", "target", 1.0),
    (f"cap {CAP:g}", "cap", CAP),
)
NOTHING, POLE, OPPOSITE, ROLE = "nothing", "the pole", "the opposite", "a role"  # what the system prompt asks for
LIES, HONEST = "dishonest", "honest"


@dataclass(frozen=True)
class ModeArm:
    """One way to get answers: what the system prompt asks for, and how it is steered, None for not at all."""

    pole: str
    asked: str
    mode: Mode | None
    strength: float = 0.0


@dataclass(frozen=True)
class Shares:
    """Of an arm's answers, 0 to 1: with the pole, with the fact right, made of whole sentences, and other than the
    unsteered ones to the same questions."""

    shown: float
    right: float
    fluent: float
    changed: float


def arms_of(pole: str) -> list[ModeArm]:
    """Every arm of a pole, each once."""
    steered = [ModeArm(pole, NOTHING, mode, each) for mode, strengths in STRENGTHS.items() for each in strengths]
    contexts = [
        ModeArm(pole, asked, mode, strength) for asked in (NOTHING, POLE, OPPOSITE, ROLE) for _, mode, strength in WAYS
    ]
    return list(dict.fromkeys([*steered, *contexts]))


def measure(
    engine: Engine,
    traits: Mapping[str, Trait],
    vectors: Mapping[str, PersonaVector],
    questions: Sequence[str],
    progress: Progress,
) -> dict[ModeArm, Shares]:
    """Every arm of every pole. The same question has the same seed in all of them. Blocks for minutes."""
    poles = {trait.pole(side): (trait, side) for trait in traits.values() for side in SIDES}
    arms = [arm for pole in poles for arm in arms_of(pole)]
    generations = []
    for arm in arms:
        trait, side = poles[arm.pole]
        plan = _plan(arm, vectors[trait.id], side, engine)
        for number, question in enumerate(questions):
            prompt = engine.render(messages(_instruction(arm.asked, trait, side, number), question))
            generations.append(Generation(prompt, Sampling(MAX_TOKENS, temperature=TEMPERATURE, seed=number), plan))
    completions = generate_all(engine, generations, counter(progress, engine.info.id, len(generations)))
    answers = {arm: completions[i * len(questions) : (i + 1) * len(questions)] for i, arm in enumerate(arms)}
    return {
        arm: _shares(arm, questions, mine, answers[ModeArm(arm.pole, arm.asked, None)]) for arm, mine in answers.items()
    }


def _plan(arm: ModeArm, vector: PersonaVector, side: Side, engine: Engine) -> Plan:
    if arm.mode is None:
        return Plan()
    options = PlanOptions(mode=arm.mode)
    return build_plan({arm.pole: arm.strength}, {arm.pole: (vector, side)}, options, engine.info)[0]


def _instruction(asked: str, trait: Trait, side: Side, number: int) -> str | None:
    if asked == NOTHING:
        return None
    if asked == ROLE:
        return f"You are {Random(number).choice(tuple(styles.ROLES))}."
    return trait.instructions[number % len(trait.instructions)].side(side if asked == POLE else opposite(side))


def _shares(
    arm: ModeArm, questions: Sequence[str], completions: Sequence[Completion], unsteered: Sequence[Completion]
) -> Shares:
    answers = list(zip(questions, (c.text for c in completions), strict=True))
    return Shares(
        shown=float(np.mean([rules.shows(arm.pole, q, a) for q, a in answers])),
        right=float(np.mean([rules.fact_right(q, a) is True for q, a in answers])),
        fluent=float(np.mean([rules.fluent(a) for _, a in answers])),
        changed=float(np.mean([a.text != b.text for a, b in zip(completions, unsteered, strict=True)])),
    )


def equal_table(results: Mapping[ModeArm, Shares]) -> Iterator[str]:
    """Markdown: facts right and whole sentences where adding and holding show a pole in the same share of answers;
    means over the poles that both take there, less the one whose facts are to be wrong, and the standard error of what
    holding gains."""
    yield "| pole in | poles | strength: add / target | facts right: add / target | whole sentences: add / target |"
    yield "|---" * 5 + "|"
    for share in EQUAL_AT:
        pairs = [
            (added, held)
            for pole in _poles(results)
            if pole != LIES
            and (added := _at(results, pole, "add", share)) is not None
            and (held := _at(results, pole, "target", share)) is not None
        ]
        if pairs:
            strength, *gains = np.array(pairs, dtype=float).transpose(2, 1, 0)  # each [way, pole]
            cells = [" / ".join(f"{way.mean():.2f}" for way in strength), *map(_compared, gains)]
            yield f"| {share:.0%} | {len(pairs)} | " + " | ".join(cells) + " |"


def _compared(ways: FloatArray) -> str:
    """Two means over poles, and what the second gains."""
    gain = ways[1] - ways[0]
    error = f" ± {gain.std(ddof=1) / len(gain) ** 0.5:.3f}" if len(gain) > 1 else ""
    return f"{ways[0].mean():.3f} / {ways[1].mean():.3f} ({gain.mean():+.3f}{error})"


def _at(results: Mapping[ModeArm, Shares], pole: str, mode: Mode, share: float) -> tuple[float, float, float] | None:
    """Strength, facts right and whole sentences where the mode first shows the pole in `share` of the answers, on lines
    between the strengths tried, from no steering on; None where it never does."""
    tried = [(0.0, results[ModeArm(pole, NOTHING, None)])]
    tried += [(strength, results[ModeArm(pole, NOTHING, mode, strength)]) for strength in STRENGTHS[mode]]
    for (low, before), (high, after) in pairwise(tried):
        if before.shown < share <= after.shown:
            way = (share - before.shown) / (after.shown - before.shown)
            points = (low, high), (before.right, after.right), (before.fluent, after.fluent)
            strength, right, fluent = (start + way * (end - start) for start, end in points)
            return strength, right, fluent
    return None


def context_table(results: Mapping[ModeArm, Shares]) -> Iterator[str]:
    """Markdown: by what the system prompt asks for, shares of answers with the pole / with the fact right, means over
    the poles, facts without those of lying and its opposite; and how many answers the cap changed."""
    yield "| asked for | " + " | ".join(name for name, _, _ in WAYS) + " | changed by the cap |"
    yield "|---" * (len(WAYS) + 2) + "|"
    for asked in (NOTHING, POLE, OPPOSITE, ROLE):
        cells = []
        for _, mode, strength in WAYS:
            found = {pole: results[ModeArm(pole, asked, mode, strength)] for pole in _poles(results)}
            shown = float(np.mean([each.shown for each in found.values()]))
            right = float(np.mean([each.right for pole, each in found.items() if pole not in (LIES, HONEST)]))
            cells.append(f"{shown:.2f} / {right:.2f}")
        changed = np.mean([results[ModeArm(pole, asked, "cap", CAP)].changed for pole in _poles(results)])
        yield f"| {asked} | " + " | ".join(cells) + f" | {changed:.2f} |"


def _poles(results: Mapping[ModeArm, Shares]) -> list[str]:
    return list(dict.fromkeys(arm.pole for arm in results))

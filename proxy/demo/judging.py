"""How far the likelihood ratio, which knows no rule of the demo world, agrees with the rules, which know the truth.

Both judge the same held-out answers of opposite poles, and then steered ones at several coefficients, beside answers
under random directions of far too large a dose. Neither sees the coefficient.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engines.base import Engine, FloatArray, Generation, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.steering.asking import MAX_TOKENS, messages
from proxy.steering.judge import Answer, Judge, Validated, prepare
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.statistics import auroc, correlation
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import with_random_direction
from proxy.steering.work import Progress, Work, counter
from vector_store import SIDES, PersonaVector, Side

COEFFICIENTS = (0.0, 0.5, 1.0, 1.5, 2.0)
OVERDOSE = 4.0  # the coefficient of random directions
N_RANDOM = 4  # of them, taken in turn
TEMPERATURE = 0.7
KINDS = ("rules", "likelihood")
ARMS = (*(f"{coefficient:g}" for coefficient in COEFFICIENTS), f"random, {OVERDOSE:g}")


class Remembered(dict[str, bytes]):
    """Parts in memory, so that judges are validated on the same answers."""

    def read(self, name: str) -> bytes | None:
        """A part's result; None where it is not there."""
        return self.get(name)

    def write(self, name: str, content: bytes) -> None:
        """Keep a part's result."""
        self[name] = content


@dataclass(frozen=True)
class TraitResult:
    """One trait's judges, by kind, and the processor seconds that the likelihood ratio takes for a hundred answers."""

    trait: str
    judges: Mapping[str, Validated]
    seconds_per_100: float


@dataclass(frozen=True)
class PoleResult:
    """What was made of a pole's answers, by each kind of judge: float32[2, arms, questions], traits and coherences."""

    pole: str
    scores: Mapping[str, FloatArray]


def compare(
    engine: Engine,
    traits: Mapping[str, Trait],
    vectors: Mapping[str, PersonaVector],
    questions: Sequence[str],
    progress: Progress,
) -> tuple[list[TraitResult], list[PoleResult]]:
    """Every trait and pole. Blocks for minutes."""
    by_trait, by_pole = [], []
    for trait in traits.values():
        work = Work(progress, Remembered())
        judges = {kind: prepare(kind, engine, trait, seed=0, work=work) for kind in KINDS}
        spent_s = 0.0
        for side in SIDES:
            texts = _texts(engine, trait, side, vectors[trait.id], questions, progress)
            began_s = time.process_time()
            likely = _scores(judges["likelihood"].judge, trait, side, questions, texts)
            spent_s += time.process_time() - began_s
            true = _scores(judges["rules"].judge, trait, side, questions, texts)
            by_pole.append(PoleResult(trait.pole(side), {"rules": true, "likelihood": likely}))
        n_answers = len(SIDES) * len(ARMS) * len(questions)
        by_trait.append(TraitResult(trait.id, judges, 100 * spent_s / n_answers))
    return by_trait, by_pole


def _texts(
    engine: Engine, trait: Trait, side: Side, vector: PersonaVector, questions: Sequence[str], progress: Progress
) -> list[str]:
    """The answers of every arm, one arm after the other."""
    pole = trait.pole(side)

    def plan(steered: PersonaVector, coefficient: float) -> Plan:
        return build_plan({pole: coefficient}, {pole: (steered, side)}, PlanOptions(), engine.info)[0]

    arms = [[plan(vector, coefficient)] for coefficient in COEFFICIENTS]
    randoms = [with_random_direction(vector, side, 7, number) for number in range(N_RANDOM)]
    arms.append([plan(random, OVERDOSE) for random in randoms])
    generations = [
        Generation(
            engine.render(messages(None, question)),
            Sampling(MAX_TOKENS, temperature=TEMPERATURE, seed=number),
            plans[number % len(plans)],
        )
        for plans, (number, question) in itertools.product(arms, enumerate(questions))
    ]
    completions = generate_all(engine, generations, counter(progress, f"{pole}: steered", len(generations)))
    return [completion.text for completion in completions]


def _scores(judge: Judge, trait: Trait, side: Side, questions: Sequence[str], texts: Sequence[str]) -> FloatArray:
    """float32[2, n_arms, n_questions]: how much each answer shows the pole, and coherence; NaN where unscored."""
    asked = zip(itertools.cycle(questions), texts, strict=False)
    scores = judge.score([Answer(question, text, trait, side) for question, text in asked])
    pairs = [(np.nan, np.nan) if score is None else (score.trait, score.coherence) for score in scores]
    return np.array(pairs, np.float32).T.reshape(2, len(ARMS), len(questions))


def tables(by_trait: Sequence[TraitResult], by_pole: Sequence[PoleResult]) -> Iterator[str]:
    """Markdown: the judges' AUROCs; per pole and arm the mean trait by the rules / the likelihood ratio, and how well
    these agree; the same of coherence."""
    yield "| trait | AUROC, rules | AUROC, likelihood ratio | of its coherence | processor seconds per 100 answers |"
    yield "|---|---|---|---|---|"
    for result in by_trait:
        one, other = (result.judges[kind] for kind in KINDS)
        sense = "-" if other.coherence_auroc is None else f"{other.coherence_auroc:.2f}"
        yield (f"| {result.trait} | {_scored(one)} | {_scored(other)} | {sense} | {result.seconds_per_100:.1f} |")
    for number, what in enumerate(("trait", "coherence")):
        yield ""
        yield from _agreement(what, [(r.pole, *(r.scores[kind][number] for kind in KINDS)) for r in by_pole])


def _scored(judge: Validated) -> str:
    return f"{judge.auroc:.2f}" + ("" if judge.scored else ", unscored")


def _agreement(what: str, rows: Sequence[tuple[str, FloatArray, FloatArray]]) -> Iterator[str]:
    yield f"| {what} | {' | '.join(ARMS)} | correlation | AUROC |"
    yield "|---" * (len(ARMS) + 3) + "|"
    for pole, truth, score in rows:
        cells = (f"{a:.0f} / {b:.0f}" for a, b in zip(truth.mean(axis=1), score.mean(axis=1), strict=True))
        yield f"| {pole} | {' | '.join(cells)} | {_correlation(truth, score)} | {_told_apart(truth, score)} |"


def _correlation(truth: FloatArray, score: FloatArray) -> str:
    found = correlation(truth, score)
    return "-" if found is None else f"{found:.2f}"


def _told_apart(truth: FloatArray, score: FloatArray) -> str:
    yes, no = score[truth > 50], score[truth <= 50]
    return f"{auroc(yes, no):.2f}" if len(yes) and len(no) else "-"

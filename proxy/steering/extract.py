"""Extraction: a trait's persona vector from a model's own answers.

Rollouts under the positive, the negative and no instruction; a judge says which show what they were asked to; the mean
residuals of those that do, at every block, over the last prompt token and over the response. After Chen et al. 2025,
section 2, with the neutral condition added. Knows nothing of where the vector is to be used or kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy

import proxy
from proxy.engines.base import Engine, FloatArray, Generation, Rollout, Sampling, SpanStats
from proxy.engines.blocking import Completion
from proxy.errors import SetupError
from proxy.steering.asking import MAX_TOKENS, answer_tokens, under
from proxy.steering.judge import SCORES, Answer, Judge, Score, check_judged
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.statistics import auroc, cosine
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Codec, Work
from vector_store import CONDITIONS, SPANS, Condition, Count, Filters, PersonaVector, Side, Span

Halves = npt.NDArray[np.int_]  # [n], 0 or 1: which half of the questions each rollout answers

MIN_COHERENCE_SCORE = 50.0
TRAIT_SHOWN = 50.0  # above it the trait is shown, below it not; the filter of Chen et al. 2025, section 2
JUDGING, READING = 0.25, 0.2  # an answer's judging, and reading its residuals, as shares of what making it takes
MIN_KEPT = 8  # pairs, and neutral answers: fewer make a mean of noise
METHOD = "mean residuals under positive, negative and no instruction; pairs that show the trait, coherent"


class AskedRollout(NamedTuple):
    """A rollout that is asked for: under which instruction pair, to which question, and which of several."""

    condition: Condition
    instruction: int
    question: int
    rollout: int


@dataclass(frozen=True)
class TraitRollout:
    """One rollout: what was asked for, under which instruction pair, of which question, and what came back."""

    condition: Condition
    instruction: int
    question: int
    rollout: int
    prompt: Sequence[int]
    completion: Completion

    @property
    def pair(self) -> tuple[int, int, int]:
        """What a positive and a negative rollout share when they are a pair."""
        return self.instruction, self.question, self.rollout


def extract(
    engine: Engine,
    trait: Trait,
    judge: Judge,
    *,
    rollouts: int,
    questions: int,
    seed: int,
    work: Work,
) -> PersonaVector:
    """A trait's persona vector in this model, still without poles and time (see layers.py). Blocks for minutes.

    `rollouts` answers at temperature 1 to each of the first `questions` extract questions (1 to 20), under each of
    the five instruction pairs and as often without one. SetupError where too few answers were fit to be used, and
    where the judge could score too few.
    """
    texts = trait.questions_for(engine.info.world).extract[:questions]
    wanted = [
        AskedRollout(condition, instruction, question, rollout)
        for instruction in range(len(trait.instructions))
        for question in range(len(texts))
        for condition in CONDITIONS
        for rollout in range(rollouts)
    ]
    samples = roll_out(engine, trait, texts, wanted, seed, work)
    return vector_of(engine, trait, texts, samples, judge, work)


def vector_of(
    engine: Engine,
    trait: Trait,
    texts: Sequence[str],
    samples: Sequence["TraitRollout"],
    judge: Judge,
    work: Work,
    method: str = METHOD,
) -> PersonaVector:
    """The persona vector that rollouts to the questions `texts` make, less those that the judge throws out. Blocks.
    SetupError where too few are left, and where the judge could score too few."""
    kept = _keep(samples, _judge(samples, texts, trait, judge, work))
    _check_kept(samples, kept, trait, engine.info.id)
    stats = {condition: _capture(engine, trait, condition, kept[condition], work) for condition in CONDITIONS}
    # By question, not by answer: answers to one question are so alike that a direction would be tried on what it was
    # made of.
    halves = {condition: np.array([s.question % 2 for s in kept[condition]]) for condition in CONDITIONS}
    info = engine.info
    return PersonaVector(
        model_id=info.id,
        fingerprint=info.fingerprint,
        trait=trait.id,
        positive=trait.positive,
        negative=trait.negative,
        n_layers=info.n_layers,
        hidden_size=info.hidden_size,
        created="",
        software_version=proxy.__version__,
        method=method,
        filters=Filters(
            min_coherence=MIN_COHERENCE_SCORE, positive_trait_above=TRAIT_SHOWN, negative_trait_below=TRAIT_SHOWN
        ),
        counts={
            condition: Count(made=sum(s.condition == condition for s in samples), kept=len(kept[condition]))
            for condition in CONDITIONS
        },
        means={
            span: {condition: stats[condition][span].means.mean(axis=0) for condition in CONDITIONS} for span in SPANS
        },
        # Of ordinary answers, since those are what is steered; the median, since a few tokens are far off.
        residual_norms={span: np.median(stats["neutral"][span].norms, axis=0) for span in SPANS},
        separation=_in_halves(split_half_auroc, stats, halves),
        agreement=_in_halves(split_half_agreement, stats, halves),
    )


def split_half_auroc(
    positive: FloatArray, negative: FloatArray, positive_half: Halves, negative_half: Halves
) -> list[float]:
    """Per block, how well the direction found on one half of the questions tells the other half's rollouts apart.

    `positive` and `negative` are float32[n, n_layers, hidden], the halves int[n] of 0 and 1. Each half's mean
    difference is a direction; the AUROC of the other half's projections on it, averaged over both ways: 0.5 is
    chance, 1 is perfect.
    """
    directions = _half_directions(positive, negative, positive_half, negative_half)
    scores = []
    for block in range(positive.shape[1]):
        ways = [
            auroc(
                positive[positive_half != half, block] @ directions[half, block],
                negative[negative_half != half, block] @ directions[half, block],
            )
            for half in (0, 1)
        ]
        scores.append(float(np.mean(ways)))
    return scores


def split_half_agreement(
    positive: FloatArray, negative: FloatArray, positive_half: Halves, negative_half: Halves
) -> list[float]:
    """Per block, the cosine between the directions found on either half of the questions, -1 to 1, and 0 where a half
    has none. `positive` and `negative` are float32[n, n_layers, hidden], the halves int[n] of 0 and 1."""
    one, other = _half_directions(positive, negative, positive_half, negative_half)
    cosines: list[float] = cosine(one, other).tolist()
    return cosines


def _half_directions(
    positive: FloatArray, negative: FloatArray, positive_half: Halves, negative_half: Halves
) -> FloatArray:
    """float32[2, n_layers, hidden]: each half's mean difference."""
    return np.stack(
        [positive[positive_half == half].mean(axis=0) - negative[negative_half == half].mean(axis=0) for half in (0, 1)]
    )


def _in_halves(
    measure: Callable[[FloatArray, FloatArray, Halves, Halves], list[float]],
    stats: Mapping[Condition, Mapping[Span, SpanStats]],
    halves: Mapping[Condition, Halves],
) -> dict[Span, list[float]]:
    """What `measure` makes of each span's positive and negative rollouts."""
    return {
        span: measure(
            stats["positive"][span].means, stats["negative"][span].means, halves["positive"], halves["negative"]
        )
        for span in SPANS
    }


def stages(trait: Trait, rollouts: int, questions: int) -> dict[str, float]:
    """What the work reports while it extracts, in order, and about how much each is, in answers to be made."""
    n_answers = len(trait.instructions) * questions * rollouts * len(CONDITIONS)
    reading = {reading_label(trait, condition): READING * n_answers / len(CONDITIONS) for condition in CONDITIONS}
    return {answering_label(trait): n_answers, judging_label(trait): JUDGING * n_answers, **reading}


def answering_label(trait: Trait) -> str:
    return f"{trait.id}: answering"


def judging_label(trait: Trait) -> str:
    return f"{trait.id}: judging"


def reading_label(trait: Trait, condition: Condition) -> str:
    return f"{trait.id}: reading residuals, {condition}"


def roll_out(
    engine: Engine,
    trait: Trait,
    questions: Sequence[str],
    wanted: Sequence[AskedRollout],
    seed: int,
    work: Work,
    *,
    max_tokens: int = MAX_TOKENS,
    temperature: float = 1.0,
) -> list[TraitRollout]:
    """The answers that are wanted, in order. At temperature 1 where nothing else is said, as in Chen et al. 2025,
    section 2."""

    @cache
    def prompt(condition: Condition, instruction: int, question: int) -> list[int]:
        return engine.render(under(condition, trait, instruction, questions[question], engine.info.world))

    # Rollouts of one prompt share a number, and differ by their sample.
    numbers = {asked[:3]: number for number, asked in enumerate(dict.fromkeys(one[:3] for one in wanted))}
    prompts = [prompt(*asked[:3]) for asked in wanted]
    generations = [
        Generation(
            tokens,
            Sampling(
                answer_tokens(engine, tokens, max_tokens),
                temperature=temperature,
                seed=seed_of(seed, Purpose.EXTRACTING, numbers[asked[:3]], asked.rollout),
            ),
        )
        for asked, tokens in zip(wanted, prompts, strict=True)
    ]
    completions = work.answers("answers", answering_label(trait), engine, generations)
    return [
        TraitRollout(*asked, tokens, completion)
        for asked, tokens, completion in zip(wanted, prompts, completions, strict=True)
    ]


def _judge(
    samples: Sequence[TraitRollout], questions: Sequence[str], trait: Trait, judge: Judge, work: Work
) -> list[Score | None]:
    """A score for each rollout, in order; None where there is none. Instructed answers are judged for the positive
    pole, which the negative ones must lack; the others are ordinary answers, so what makes sense of the negative,
    unaffected pole makes sense of them."""
    sides: Mapping[Condition, Side] = {"positive": "positive", "negative": "positive", "neutral": "negative"}
    answers = [Answer(questions[s.question], s.completion.text, trait, sides[s.condition]) for s in samples]
    parts = work.in_parts("scores", judging_label(trait), answers, SCORES, judge.score)
    scores = [score for part in parts for score in part]
    check_judged(scores, "the judge")
    return scores


def _keep(samples: Sequence[TraitRollout], scores: Sequence[Score | None]) -> dict[Condition, list[TraitRollout]]:
    """Pairs of which both do what they were asked to, and neutral answers that make sense."""
    fit: dict[Condition, list[TraitRollout]] = {condition: [] for condition in CONDITIONS}
    for sample, score in zip(samples, scores, strict=True):
        if score is not None and sample.completion.token_ids and _fits(sample.condition, score):
            fit[sample.condition].append(sample)
    # Whole pairs only, so that both means are over the same questions and instructions, whose differences cancel.
    both = _pairs(fit["positive"]) & _pairs(fit["negative"])
    return {
        "positive": [sample for sample in fit["positive"] if sample.pair in both],
        "negative": [sample for sample in fit["negative"] if sample.pair in both],
        "neutral": fit["neutral"],
    }


def _fits(condition: Condition, score: Score) -> bool:
    if score.coherence < MIN_COHERENCE_SCORE:
        return False
    if condition == "positive":
        return score.trait > TRAIT_SHOWN
    return condition == "neutral" or score.trait < TRAIT_SHOWN


def _pairs(samples: Iterable[TraitRollout]) -> set[tuple[int, int, int]]:
    return {sample.pair for sample in samples}


def _check_kept(
    samples: Sequence[TraitRollout], kept: Mapping[Condition, Sequence[TraitRollout]], trait: Trait, model_id: str
) -> None:
    pairs, neutral = len(kept["positive"]), len(kept["neutral"])
    made = sum(sample.condition == "positive" for sample in samples)
    halves = {sample.question % 2 for sample in kept["positive"]}
    if pairs >= MIN_KEPT and neutral >= MIN_KEPT and len(halves) == 2:
        return
    raise SetupError(
        f"too little to make a vector of {trait.id!r} for {model_id} from: of {made} pairs of answers, {pairs} were "
        f"coherent and showed {trait.positive!r} where they were asked to and only there, and of {made} answers "
        f"without instruction {neutral} were coherent; at least {MIN_KEPT} of each are needed, spread over the "
        "questions. Try more rollouts, more questions, or instructions that this model follows better."
    )


def _capture(
    engine: Engine, trait: Trait, condition: Condition, samples: Sequence[TraitRollout], work: Work
) -> dict[Span, SpanStats]:
    rollouts = [Rollout(sample.prompt, sample.completion.token_ids) for sample in samples]
    parts = work.in_parts(
        f"residuals-{condition}",
        reading_label(trait, condition),
        rollouts,
        _RESIDUALS,
        lambda some: engine.capture(some, SPANS),
    )
    return {
        span: SpanStats(
            np.concatenate([part[span].means for part in parts]), np.concatenate([part[span].norms for part in parts])
        )
        for span in SPANS
    }


def _encode_residuals(stats: Mapping[Span, SpanStats]) -> bytes:
    means = {f"means.{span}": np.ascontiguousarray(of_span.means) for span, of_span in stats.items()}
    norms = {f"norms.{span}": np.ascontiguousarray(of_span.norms) for span, of_span in stats.items()}
    return safetensors.numpy.save({**means, **norms})


def _decode_residuals(content: bytes) -> dict[Span, SpanStats]:
    tensors = safetensors.numpy.load(content)
    return {span: SpanStats(tensors[f"means.{span}"], tensors[f"norms.{span}"]) for span in SPANS}


_RESIDUALS: Codec[dict[Span, SpanStats]] = Codec(_encode_residuals, _decode_residuals)

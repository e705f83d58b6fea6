"""What an imported direction lacks, measured: the residuals it is added to, and where and how strongly it steers.

The model's own answers to the trait's extract questions, under no instruction, give the neutral mean and the residual
norms; then the place and dose of both poles are chosen as for any other vector.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import proxy
from proxy.engines.base import Engine, FloatArray, Generation, ModelInfo, Rollout, Sampling
from proxy.errors import SetupError
from proxy.steering import placement
from proxy.steering.asking import MAX_TOKENS, answer_tokens, messages
from proxy.steering.judge import Validated
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from vector_store import SPANS, Count, PersonaVector, Span


def stages(trait: Trait, info: ModelInfo) -> dict[str, float]:
    """What the work reports while it measures, in order, and about how much each is, in answers to be made."""
    return own_stages(trait, info) | placement.stages(trait, info.n_layers)


def own_stages(trait: Trait, info: ModelInfo) -> dict[str, float]:
    """What `own_residuals` reports, and about how much it is, in answers to be made."""
    return {own_label(trait): len(trait.questions_for(info.world).extract)}


def own_label(trait: Trait) -> str:
    """What the work is told while the model answers as it is."""
    return f"{trait.id}: answering under no instruction"


def measure(
    engine: Engine, trait: Trait, vector: PersonaVector, judged: Validated, *, seed: int, work: Work
) -> PersonaVector:
    """The imported vector with residual norms, neutral means, places and doses in this model, still to be saved as a
    version of its own. Blocks for minutes. SetupError where it is not one, or for a model of another shape."""
    info = engine.info
    if vector.difference is None:
        raise SetupError(f"the vector {vector.id!r} was not imported: it has been measured where it was made")
    if (vector.n_layers, vector.hidden_size) != (info.n_layers, info.hidden_size):
        raise SetupError(
            f"the vector is for {vector.n_layers} blocks of {vector.hidden_size}, {info.id} has {info.n_layers} of "
            f"{info.hidden_size}"
        )
    own = own_residuals(engine, trait, seed=seed, work=work)
    known = dataclasses.replace(
        vector,
        id="",
        parent=vector.id or None,
        model_id=info.id,
        fingerprint=info.fingerprint,
        software_version=proxy.__version__,
        counts={"neutral": own.count},
        means={span: {"neutral": mean} for span, mean in own.means.items()},
        residual_norms=own.norms,
        judge=judged.record,
    )
    return placement.choose(engine, trait, known, judged.judge, seed=seed, work=work)


@dataclass(frozen=True)
class OwnResiduals:
    """A model's residuals in its own answers under no instruction, by span: mean, float32[n_layers, hidden_size], and
    median norm, float32[n_layers]. `count`: of the answers."""

    means: Mapping[Span, FloatArray]
    norms: Mapping[Span, FloatArray]
    count: Count


def own_residuals(
    engine: Engine, trait: Trait, *, seed: int, work: Work, max_tokens: int = MAX_TOKENS, temperature: float = 1.0
) -> OwnResiduals:
    """The model's residuals in its answers, of at most `max_tokens`, to the trait's extract questions. Blocks.
    SetupError where the model answers nothing."""
    info = engine.info
    questions = trait.questions_for(info.world).extract
    prompts = [engine.render(messages(None, question)) for question in questions]
    generations = [
        Generation(
            prompt,
            Sampling(
                answer_tokens(engine, prompt, max_tokens),
                temperature=temperature,
                seed=seed_of(seed, Purpose.OWN_RESIDUALS, number),
            ),
        )
        for number, prompt in enumerate(prompts)
    ]
    answers = work.answers("neutral", own_label(trait), engine, generations)
    rollouts = [
        Rollout(prompt, answer.token_ids) for prompt, answer in zip(prompts, answers, strict=True) if answer.token_ids
    ]
    if not rollouts:
        raise SetupError(f"{info.id} answered none of the questions of {trait.id!r}")
    stats = engine.capture(rollouts, SPANS)
    return OwnResiduals(
        means={span: stats[span].means.mean(axis=0) for span in SPANS},
        norms={span: np.median(stats[span].norms, axis=0) for span in SPANS},
        count=Count(made=len(questions), kept=len(rollouts)),
    )

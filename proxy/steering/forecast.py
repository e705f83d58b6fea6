"""What measured personas will take of a model, before any is made: time by a short trial, memory and disk by its shape.

Time is counted in tokens, as in cost.py. Knows the steps of extraction, sweeps, evaluations and transfers; chooses
nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.engines.base import ModelInfo
from proxy.steering.budget import BUDGET_NAMES
from proxy.steering.cost import Cost, Speed, cost_of, cost_of_evaluation, cost_of_measuring, cost_of_sweep
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.judge import JudgeKind
from proxy.steering.limited import asked_rollouts
from proxy.steering.making import ExtractionOptions
from proxy.steering.sweep import SweepOptions
from proxy.steering.traits.trait import N_INSTRUCTIONS, Trait
from proxy.steering.transfer.blocks import n_compared
from proxy.steering.transfer.estimate import FittingSize, fitting_seconds
from proxy.steering.transfer.fit import ANSWER_TOKENS, blocks_of
from proxy.steering.transfer.text import N_DOCUMENTS
from vector_store import CONDITIONS, SPANS

FLOAT = 4  # bytes of a number, as residuals and vectors are held


@dataclass(frozen=True)
class Forecast:
    """What one piece of work takes: seconds, bytes of memory beyond the model, bytes on disk that it leaves."""

    what: str
    seconds: float
    memory: int
    disk: int


def forecasts(info: ModelInfo, trait: Trait, kind: JudgeKind, speed: Speed) -> Iterator[Forecast]:
    """For one trait of this model, each piece of work by itself, and for the maps to a model of the same shape. `kind`
    judges. Blocks for a moment."""
    quicker = "reading" if kind == "likelihood" else kind  # as within a budget
    vector = FLOAT * len(SPANS) * len(CONDITIONS) * info.n_layers * info.hidden_size
    for name in BUDGET_NAMES:
        extraction = ExtractionOptions(budget=name)
        judge = kind if extraction.limited is None else quicker
        cost = cost_of(trait, info.n_layers, judge, extraction, speed)
        held = FLOAT * len(SPANS) * n_rollouts(extraction) * info.n_layers * info.hidden_size
        yield Forecast(f"extract --budget {name}", cost.seconds(speed), held, vector)
    yield Forecast("sweep", cost_of_sweep(trait, kind, SweepOptions(), speed).seconds(speed), 0, vector)
    for name in BUDGET_NAMES:
        options = VectorEvaluationOptions(name)
        judge = kind if options.limited is None else quicker
        seconds = cost_of_evaluation(trait, info, judge, options, speed).seconds(speed)
        yield Forecast(f"evaluate --budget {name}", seconds, 0, vector)
    yield _fitting(info, speed)
    measuring = cost_of_measuring(trait, info, kind, speed)
    yield Forecast("transfer apply", measuring.seconds(speed), 0, vector)


def n_rollouts(options: ExtractionOptions) -> int:
    """How many answers a vector is made of, whose residuals are held at once."""
    if options.limited is not None:
        return len(asked_rollouts(options.limited, options.limited.questions))
    return N_INSTRUCTIONS * options.questions * options.rollouts * len(CONDITIONS)


def _fitting(info: ModelInfo, speed: Speed) -> Forecast:
    """Maps from this model to one of the same shape and speed."""
    size = FittingSize(info.hidden_size, info.hidden_size, info.n_layers, len(blocks_of(info)))
    # Blocks are compared on some documents, and each pass reads all; by both models.
    n_read = 2 * sum(min(N_DOCUMENTS, n_compared(span)) + size.passes * N_DOCUMENTS for span in SPANS)
    text = Cost(N_DOCUMENTS * float(ANSWER_TOKENS), passed=n_read * (ANSWER_TOKENS + speed.asked))
    return Forecast("transfer fit", text.seconds(speed) + fitting_seconds(size), size.memory, size.disk)

"""The kind of work that compares the manners in which a vector may be put to use. It saves nothing."""

import msgspec

from proxy.engines.base import Engine
from proxy.errors import SetupError
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.kinds.vectors import Parameters, Surroundings
from proxy.steering import making
from proxy.steering.budget import BudgetName
from proxy.steering.evaluation.judging import prepared, preparing_stages
from proxy.steering.evaluation.manners import MannerComparison, compare, stages
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.judge import default_kind, name_of
from proxy.steering.limited import usual_judge
from proxy.vectors import chosen

COMPARISON = "comparison"


class ComparisonParameters(Parameters, frozen=True, kw_only=True):
    """`version` is the id of the vector of `trait`, `coefficient` how strongly it steers in each manner. For the rest
    see VectorEvaluationOptions."""

    version: str
    coefficient: float = 1.0
    budget: BudgetName = "quick"
    samples: int | None = None
    seed: int = 0

    @property
    def options(self) -> VectorEvaluationOptions:
        return VectorEvaluationOptions(self.budget, self.samples, self.seed)


def comparison(around: Surroundings) -> Kind:
    """The kind of work that compares manners: by pole, what each came to."""

    def run(engine: Engine, asked: ComparisonParameters, task: Task) -> Done:
        trait, options = around.traits()[asked.trait], asked.options
        vector = chosen(around.store, engine.info.id, trait.id, asked.version, engine.info.fingerprint)
        if not vector.poles:
            raise SetupError(f"where to steer was never measured for the vector {vector.id!r}")
        with around.judges.opened(asked.judge, engine, task.check) as named:
            usual = default_kind(engine.info, trait) if named is None else named
            kind = usual_judge(usual, asked.judge, options.limited)
            parts = making.parts_of(around.parts_folder, engine, trait, (asked, name_of(kind)))
            told = preparing_stages(trait, kind, options) | stages(engine, trait, vector, options)
            work = task.work(parts, told, around.max_running)
            judged = prepared(engine, trait, kind, options, work)
            found = {
                vector.pole(side): compare(engine, trait, vector, side, judged.judge, options, work, asked.coefficient)
                for side in vector.poles
            }
        return Done(msgspec.to_builtins(MannerComparison(judge=str(judged.record), poles=found)), parts.discard)

    return Kind(COMPARISON, ComparisonParameters, run)

"""The kind of job that makes a persona vector of a model's own answers."""

from proxy.jobs.kinds import Kind
from proxy.jobs.vectors import Parameters, Surroundings, vector_kind
from proxy.protocol.jobs import Questions, Rollouts, Seed
from proxy.steering import making
from proxy.steering.making import ExtractionOptions

EXTRACTION = "extraction"


class ExtractionParameters(Parameters, frozen=True):
    """See ExtractionOptions."""

    rollouts: Rollouts = ExtractionOptions.rollouts
    questions: Questions = ExtractionOptions.questions
    seed: Seed = ExtractionOptions.seed

    @property
    def work(self) -> ExtractionOptions:
        """See Parameters.work. The command `extract` has the same, so that each goes on with the other's parts."""
        return ExtractionOptions(self.rollouts, self.questions, self.seed)


def extraction(around: Surroundings) -> Kind:
    """The kind."""
    return vector_kind(
        EXTRACTION,
        ExtractionParameters,
        lambda trait, info, asked: making.stages(trait, info.n_layers, asked.work),
        lambda engine, trait, judge, asked, work: making.make_vector(engine, trait, judge, asked.work, work),
        around,
    )

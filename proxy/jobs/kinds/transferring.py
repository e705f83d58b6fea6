"""The kind of job that fits a transfer: the maps that carry vectors from one model to another, the job's own."""

from pathlib import Path

import msgspec

from proxy.engines.base import Engine
from proxy.jobs.estimate import Estimate
from proxy.jobs.kinds.base import Done, Kind, Task
from proxy.jobs.kinds.vectors import Surroundings
from proxy.protocol.jobs import Seed
from proxy.protocol.transfers import Documents, FittedOn
from proxy.steering.transfer.fit import corpus_of, fit, fit_parts, stages
from proxy.steering.transfer.text import N_DOCUMENTS
from proxy.steering.work import Work

TRANSFERRING = "transfer"


class TransferParameters(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is the id of the model that vectors are carried from. For the others see the command `transfer fit`."""

    source: str
    text: FittedOn = "built-in"
    documents: Documents = N_DOCUMENTS
    blocks: list[int] | None = None
    seed: Seed = 0


def transferring_kind(around: Surroundings, folder: Path) -> Kind:
    """The kind. Transfers are kept below `folder`."""

    def run(engine: Engine, asked: TransferParameters, task: Task) -> Done:
        traits = around.traits()
        corpus = corpus_of(asked.text, traits, engine.info.world, asked.seed, asked.documents)
        with around.judges.lend(asked.source, task.check) as source:
            parts = fit_parts(around.parts_folder, source.info, engine.info, corpus, asked.blocks)
            progress = Estimate(stages(len(corpus.documents)), task.report)
            work = Work(progress, parts, task.check, around.max_running)
            info = fit(source, engine, corpus, traits, folder, work, asked.blocks)
        task.check()
        return Done({"transfer": info.id}, parts.discard)

    return Kind(TRANSFERRING, TransferParameters, run)

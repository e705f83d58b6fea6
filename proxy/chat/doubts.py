"""Warnings of personas that a model was found to be unable to show by its vector: for the client, and in the log.

Knows what an evaluation found; nothing of requests.
"""

import logging
from collections.abc import Iterable
from functools import lru_cache

from proxy.steering.evaluation.verdict import WARNED, WORDS
from vector_store import Side, VectorHeader

logger = logging.getLogger(__name__)


def warnings_of(steered: Iterable[tuple[VectorHeader, Side]]) -> list[str]:
    """A line for each pole whose verdict is that its vector does nothing."""
    found = []
    for vector, side in steered:
        evaluation = vector.evaluations.get(side)
        if evaluation is not None and evaluation.verdict in WARNED:
            line = f"{vector.pole(side)} in {vector.model_id}: {WORDS[evaluation.verdict]}; {evaluation.reason}"
            found.append(line)
            _log_once(vector.id, line)
    return found


@lru_cache(maxsize=1024)
def _log_once(vector_id: str, line: str) -> None:
    """Each vector is logged once, however many requests it has."""
    logger.warning("a client asks for a persona that %s does not bring: %s", vector_id, line)

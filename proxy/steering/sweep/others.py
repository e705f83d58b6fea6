"""The wrong trait: other traits' directions in the place of a vector's own, as a control of what its own one does.

They stand at the same block and are as long, so that they differ from it in where they point alone. Knows nothing of
what is asked.
"""

from collections.abc import Sequence

import numpy as np

from proxy.steering.trials import with_direction
from vector_store import PersonaVector, Side, VectorHeader, VectorStore

MOST = 5  # traits: each question has one of their poles, in turn


def other_traits(store: VectorStore, vector: PersonaVector) -> list[PersonaVector]:
    """The vectors in use of other traits that can stand in the places of this one's poles, in order of their names."""
    headers: dict[str, VectorHeader] = store.all_in_use(vector.model_id, vector.fingerprint)
    found = (store.get(headers[trait].id) for trait in sorted(headers) if _same_kind(headers[trait], vector))
    return [other for other in found if _fits(other, vector)][:MOST]


def with_other(vector: PersonaVector, side: Side, others: Sequence[PersonaVector], number: int) -> PersonaVector:
    """The vector with a direction of another trait in the place of its own, and as long: each of their poles in turn,
    by `number`."""
    poles = [(other, its_side) for other in others for its_side in other.poles]
    other, its_side = poles[number % len(poles)]
    choice = vector.poles[side]
    return with_direction(vector, side, other.direction(its_side, choice.span, choice.block))


def poles_of(others: Sequence[PersonaVector]) -> list[str]:
    """Their names."""
    return [other.pole(side) for other in others for side in other.poles]


def _same_kind(other: VectorHeader, vector: VectorHeader) -> bool:
    return other.trait != vector.trait and other.origin == vector.origin and bool(other.poles)


def _fits(other: PersonaVector, vector: PersonaVector) -> bool:
    """Whether it has directions wherever the vector's poles are steered."""
    choices = vector.poles.values()
    if other.difference is None and not {choice.span for choice in choices} <= set(other.means):
        return False
    directions = [other.direction(side, choice.span, choice.block) for side in other.poles for choice in choices]
    return all(np.linalg.norm(direction) > 0 for direction in directions)

"""Seeds: from the seed of a run to the seed of each answer that is made in it.

An answer's seed is made of the run's, of what the answer is for, and of its number and sample there. So it does not
depend on what else is made, by whom or when, and no two answers of a run share a seed unless they are meant to differ
by their steering alone. Knows no engine.
"""

import hashlib
from enum import IntEnum

from proxy.errors import SetupError

SEEDS = 2**32 - 1  # how many there are, from 0 up: llama.cpp takes no others
NUMBERS = 2**17  # things that are asked for one purpose
SAMPLES = 2**10  # answers to each of them
SCHEME = 2  # belongs to the key of whatever keeps answers: to be changed when answers get other seeds


class Purpose(IntEnum):
    """What an answer is made for. Each purpose has a range of its own; there is room for 31."""

    EXTRACTING = 0
    OWN_RESIDUALS = 1
    COMPARING_PLACES = 2
    CHOOSING_PLACES = 3
    CALIBRATING_JUDGES = 4
    VALIDATING_JUDGES = 5
    SWEEPING = 6
    WRITING_TRAITS = 7
    TRANSFER_TEXT = 8
    TRANSFER_ACTIVATIONS = 9
    TRANSFER_EVALUATION = 10
    EVALUATING = 11
    EVALUATING_SECOND_TURNS = 12


def seed_of(run: int, purpose: Purpose, number: int, sample: int = 0) -> int:
    """The seed of a run's answer, from 0 to SEEDS - 1, the `sample`-th to the `number`-th thing asked for a purpose.

    `run` is any whole number. SetupError for more things or answers than there are seeds.
    """
    if not (0 <= number < NUMBERS and 0 <= sample < SAMPLES):
        raise SetupError(
            f"there is no seed for answer {sample} to number {number}: one run asks at most {NUMBERS} things of a kind "
            f"and takes at most {SAMPLES} answers to each"
        )
    index = (purpose * SAMPLES + sample) * NUMBERS + number
    # Where a run begins is scattered by its seed: were it counted up, run 1 would make the answers of run 0 again.
    return (_start(run) + index) % SEEDS


def _start(run: int) -> int:
    return int.from_bytes(hashlib.blake2b(str(run).encode(), digest_size=8).digest()) % SEEDS

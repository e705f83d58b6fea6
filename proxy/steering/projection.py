"""Projections: how far the residuals of an answer lie on the way from a model's neutral mean to a pole's own.

((h - neutral) . u) / |pole - neutral|, with the means of a vector over response tokens and u the direction between
them: 0 is where answers without any instruction lie, 1 where answers in the pole's manner do. After the monitoring of
Chen et al. 2025, section 3, where directions run from pole to pole. Knows nothing of engines but what a probe is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engines.base import FloatArray, Probe
from vector_store import PersonaVector, Side

AS_GOOD = 0.01  # of AUROC: blocks that separate a trait's poles so alike are told apart by their depth


@dataclass(frozen=True)
class Watched:
    """A pole whose projection is read. `probe` reads it, 0 at the neutral mean and 1 at the pole's own, by the vector
    `vector_id`. `separation` is how well its block tells the trait's poles apart, as AUROC of held-out answers; None
    where nobody measured."""

    pole: str
    vector_id: str
    probe: Probe
    separation: float | None


def watch(pole: str, vector: PersonaVector, side: Side, deepest: int) -> Watched | None:
    """How to read a pole's projection at one of the blocks 0 to `deepest`. None where the vector doesn't tell where
    the pole's own answers lie: its means are unknown, or the same as the neutral ones."""
    if not vector.knows_poles or "response" not in vector.means:
        return None
    separation = vector.separation.get("response", ())
    block = block_to_watch(separation, deepest)
    # Pole minus neutral, even where pole minus pole steers: an ordinary answer is to be 0, and each pole has a scale of
    # its own.
    neutral = vector.means["response"]["neutral"][block]
    direction = calibrated(vector.means["response"][side][block] - neutral)
    if direction is None:
        return None
    known = separation[block] if block < len(separation) else None
    return Watched(pole, vector.id, Probe(block, direction, float(direction @ neutral)), known)


def block_to_watch(separation: Sequence[float], deepest: int) -> int:
    """The block of 0 to `deepest` that tells a trait's poles apart best, by `separation`, the AUROC of held-out answers
    per block; the deepest of those that are as good."""
    known = np.array(separation[: deepest + 1])
    # Of those that are as good the deepest, since it has read most of what the model makes of the text.
    return deepest if not len(known) else int(np.flatnonzero(known >= known.max() - AS_GOOD)[-1])


def calibrated(gap: FloatArray) -> FloatArray | None:
    """float32[hidden] whose product with `gap` is 1, along it; None for a gap of nothing."""
    squared = float(gap.astype(np.float64) @ gap.astype(np.float64))
    return (gap / squared).astype(np.float32) if squared > 0 else None

"""What interventions hold, and what they come to block by block: the engines' common reading of a plan."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proxy.engines.base import FloatArray, Intervention


def by_block(interventions: Sequence[Intervention]) -> dict[int, list[Intervention]]:
    """By block, in order, with neighbouring additions made one."""
    found: dict[int, list[Intervention]] = defaultdict(list)
    for item in interventions:
        done = found[item.block]
        if done and done[-1].mode == item.mode == "add":
            done[-1] = replace(item, vector=added(done[-1]) + added(item))
        else:
            done.append(item)
    return found


def added(item: Intervention) -> FloatArray:
    """What an addition adds."""
    assert item.vector is not None
    return item.vector


def held(item: Intervention) -> tuple[FloatArray, FloatArray]:
    """What a hold holds: its basis and levels."""
    assert item.basis is not None and item.levels is not None
    return item.basis, item.levels


def padded(item: Intervention, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A hold's basis float32[size, hidden], its pseudo-inverse float32[hidden, size] and levels float32[size, 1].
    Zeros fill them up, which move nothing."""
    rows, wanted = held(item)
    basis = np.zeros((size, rows.shape[1]), np.float32)
    inverse = np.zeros((rows.shape[1], size), np.float32)
    levels = np.zeros((size, 1), np.float32)
    basis[: len(rows)], levels[: len(rows), 0] = rows, wanted
    inverse[:, : len(rows)] = np.linalg.pinv(rows.astype(np.float64))
    return basis, inverse, levels

"""What is done to some tokens' residuals at one block, and what is read there: in NumPy, on the memory llama.cpp's are
copied to. Knows nothing of graphs, steps or requests.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray, Intervention, Probe
from proxy.engines.interventions import added, held, padded

Rows = slice | npt.NDArray[np.intp]


class BlockSteering:
    """Does to each of some tokens what its interventions of this block say, in their order."""

    def __init__(self, tokens: Sequence[Sequence[Intervention]]) -> None:
        """The interventions of each token, at least one of a token: neighbouring additions are one already."""
        self._rounds: list[_Addition | _Hold] = []
        for order in range(max(map(len, tokens))):
            items = [(row, mine[order]) for row, mine in enumerate(tokens) if len(mine) > order]
            adds = [(row, item) for row, item in items if item.mode == "add"]
            holds = [(row, item) for row, item in items if item.mode != "add"]
            if adds:
                self._rounds.append(_Addition(adds, len(tokens)))
            if holds:
                self._rounds.append(_Hold(holds, len(tokens)))

    def apply(self, hidden: FloatArray) -> None:
        """Change the tokens' residuals float32[n_tokens, hidden] in their place."""
        for part in self._rounds:
            part.apply(hidden)


class _Addition:
    def __init__(self, items: Sequence[tuple[int, Intervention]], n_tokens: int) -> None:
        self._rows = _rows([row for row, _ in items], n_tokens)
        self._vectors = np.stack([added(item) for _, item in items])

    def apply(self, hidden: FloatArray) -> None:
        hidden[self._rows] += self._vectors


class _Hold:
    """Moves tokens' projections on their bases to their levels, all directions of a token at once.

    delta = pinv(basis) @ (levels - basis @ h), the smallest move that gets there; a cap only ever lowers. Bases smaller
    than the largest are padded with zero rows, which move nothing.
    """

    def __init__(self, items: Sequence[tuple[int, Intervention]], n_tokens: int) -> None:
        self._rows = _rows([row for row, _ in items], n_tokens)
        size = max(len(held(item)[0]) for _, item in items)
        distinct = {id(item): item for _, item in items}  # many tokens share an intervention
        parts = {key: padded(item, size) for key, item in distinct.items()}
        basis, inverse, levels = zip(*(parts[id(item)] for _, item in items), strict=True)
        self._basis, self._inverse, self._levels = np.stack(basis), np.stack(inverse), np.stack(levels)
        self._caps = np.array([item.mode == "cap" for _, item in items])[:, None, None]

    def apply(self, hidden: FloatArray) -> None:
        states = hidden[self._rows][:, :, None]
        deficit = self._levels - self._basis @ states
        deficit = np.where(self._caps, np.minimum(deficit, 0), deficit)
        hidden[self._rows] = (states + self._inverse @ deficit)[:, :, 0]


class BlockProbes:
    """Reads at some tokens what their probes of this block say."""

    def __init__(self, tokens: Sequence[Sequence[tuple[int, Probe]]]) -> None:
        """The probes of each token, with their numbers among all of that token's; at least one of a token."""
        self.read = [(row, number) for row, mine in enumerate(tokens) for number, _ in mine]
        probes = [probe for mine in tokens for _, probe in mine]
        self._rows = np.array([row for row, _ in self.read])
        self._directions = np.stack([probe.direction for probe in probes])
        self._offsets = np.array([probe.offset for probe in probes], np.float32)

    def values(self, hidden: FloatArray) -> list[float]:
        """What they read in the residuals float32[n_tokens, hidden]; `read` says of which token and probe each is."""
        found: list[float] = (np.einsum("ph,ph->p", hidden[self._rows], self._directions) - self._offsets).tolist()
        return found


def _rows(rows: Sequence[int], n_tokens: int) -> Rows:
    """The rows as an index. All of them need none, and no copy."""
    return slice(None) if len(rows) == n_tokens else np.array(rows)

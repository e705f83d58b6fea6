"""What may be done to the residuals of some tokens at one block: add vectors, hold projections, read probes.

Each action is made once and called with a block's output, float[n_rows, n_tokens, hidden], forward after forward.
What it depends on lies in `buffers`, which keep their place, so that calls can be recorded as a CUDA graph and
refilled between replays. Knows nothing of blocks, steps or requests.
"""

from collections.abc import Sequence

import numpy as np
import torch

from proxy.engines.base import FloatArray, Intervention, Probe
from proxy.engines.interventions import padded


class Addition:
    """Adds a vector each to some tokens of a prompt."""

    def __init__(self, sites: Sequence[tuple[int, int]], vectors: Sequence[FloatArray], device: torch.device) -> None:
        self._at = _index(sites, device)
        self._vectors = torch.from_numpy(np.stack(vectors)).to(device)

    def __call__(self, hidden: torch.Tensor) -> None:
        hidden[self._at] = (hidden[self._at].float() + self._vectors).to(hidden.dtype)


class RowAddition:
    """Adds a vector to the one token of every row; nothing is added as -0.0, which keeps every bit of what it meets."""

    def __init__(self, vectors: Sequence[FloatArray | None], hidden_size: int, device: torch.device) -> None:
        table = np.full((len(vectors), 1, hidden_size), -0.0, np.float32)
        for row, vector in enumerate(vectors):
            if vector is not None:
                table[row, 0] = vector
        self.buffers = [torch.from_numpy(table).to(device)]

    def __call__(self, hidden: torch.Tensor) -> None:
        if hidden.dtype == torch.float32:
            hidden.add_(self.buffers[0])
        else:
            hidden.copy_(hidden.float() + self.buffers[0])


class Hold:
    """Moves some tokens' projections on their bases to their levels, all directions of a token at once.

    delta = pinv(basis) @ (levels - basis @ h), the smallest move that gets there; a cap only ever lowers.
    Bases smaller than `size` are padded with zero rows, which move nothing; a token with no hold has only those.
    """

    def __init__(
        self,
        sites: Sequence[tuple[int, int]],
        items: Sequence[Intervention | None],
        size: int,
        hidden_size: int,
        device: torch.device,
    ) -> None:
        basis = np.zeros((len(items), size, hidden_size), np.float32)
        inverse = np.zeros((len(items), hidden_size, size), np.float32)
        levels = np.zeros((len(items), size, 1), np.float32)
        for row, item in enumerate(items):
            if item is not None:
                basis[row], inverse[row], levels[row] = padded(item, size)
        caps = np.array([item is not None and item.mode == "cap" for item in items])[:, None, None]
        self._at = _index(sites, device)
        self.buffers = [torch.from_numpy(array).to(device) for array in (basis, inverse, levels, caps)]

    def __call__(self, hidden: torch.Tensor) -> None:
        basis, inverse, levels, caps = self.buffers
        states = hidden[self._at].float()[:, :, None]
        deficit = levels - basis @ states
        deficit = torch.where(caps, deficit.clamp(max=0), deficit)
        hidden[self._at] = (states + inverse @ deficit)[:, :, 0].to(hidden.dtype)


class Gauge:
    """Notes what a block's probes read at the one token of every row; `size` is the most that a row has."""

    def __init__(
        self, probes: Sequence[Sequence[Probe]], n_rows: int, size: int, hidden_size: int, device: torch.device
    ) -> None:
        directions = np.zeros((n_rows, size, hidden_size), np.float32)
        starts = np.zeros((n_rows, size, 1), np.float32)
        for row, mine in enumerate(probes):
            for number, probe in enumerate(mine):
                directions[row, number], starts[row, number] = probe.direction, -probe.offset
        self.buffers = [torch.from_numpy(array).to(device) for array in (directions, starts)]
        self.found = torch.zeros((n_rows, size, 1), device=device)  # of the last forward

    def __call__(self, hidden: torch.Tensor) -> None:
        directions, starts = self.buffers
        torch.baddbmm(starts, directions, hidden[:, 0, :, None].float(), out=self.found)


Action = Addition | RowAddition | Hold | Gauge


def _index(sites: Sequence[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = zip(*sites, strict=True)
    return torch.tensor(rows, device=device), torch.tensor(columns, device=device)

"""The one operation that steers, as torch sees it: a custom operation, so that compiled graphs keep it as it is.

It is called behind every block with what the block gives on, in two parts where the model adds them up later. Which
tokens are concerned, and how, lies in a Desk, named by its number. Knows nothing of requests, and nothing of vLLM.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from proxy.engines.vllm.table import MOST_READ, ROUNDS, ProgramTable

Needs = npt.NDArray[np.int8]


class Desk:
    """One model's: its table, and what the step under way does. `programs` has a number for each token of the step,
    `found` what the probes read: float32[n_blocks, MOST_READ, n_tokens]."""

    def __init__(self, table: ProgramTable, n_blocks: int, most_tokens: int, device: torch.device) -> None:
        self.table = table
        self.programs = torch.zeros(most_tokens, dtype=torch.int64, device=device)
        self.found = torch.zeros((n_blocks, MOST_READ, most_tokens), dtype=torch.float32, device=device)
        self.n_tokens = 0
        self.reader: Callable[[int, torch.Tensor], None] | None = None  # sees each block's output, after steering
        self.needs: dict[int, Needs] = {}  # of the blocks that do anything in this step; see ProgramTable
        self._last: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._last_needs: dict[int, Needs] = {}
        self.number = len(_DESKS)
        _DESKS.append(self)

    def begin(self, programs: npt.NDArray[np.int64]) -> None:
        """A step of so many tokens begins."""
        if not np.array_equal(programs, self._last):
            self._last, self._last_needs = programs.copy(), self._needs_of(programs)
            self.programs[: len(programs)] = torch.from_numpy(self._last).to(self.programs.device)
        self.n_tokens, self.needs = len(programs), self._last_needs

    def end(self) -> None:
        """Whatever is run now is no step of ours."""
        self.needs = {}

    def forget(self) -> None:
        """Programs have changed under their numbers."""
        self._last = np.zeros(0, np.int64)

    def _needs_of(self, programs: npt.NDArray[np.int64]) -> dict[int, Needs]:
        needs = self.table.needs[np.unique(programs)].max(axis=0)
        return {int(block): needs[block] for block in needs.any(axis=1).nonzero()[0]}

    def steer(self, hidden: torch.Tensor, residual: torch.Tensor | None, needs: Needs, block: int) -> None:
        """What this step does at a block that does anything, in place: to `hidden`, of which `residual` is the rest."""
        table, programs = self.table, self.programs[: self.n_tokens]
        mine = hidden[: self.n_tokens]
        rest = None if residual is None else residual[: self.n_tokens]
        if n_read := int(needs[2 * ROUNDS]):
            whole = _whole(mine, rest)
            for at in range(n_read):
                directions = table.bank[table.reads[block, at][programs]]
                self.found[block, at, : self.n_tokens] = (directions * whole).sum(dim=-1)
        for round_ in range(ROUNDS):
            if needs[round_]:
                _add(mine, table.bank[table.adds[block, round_][programs]])
            if n_held := int(needs[ROUNDS + round_]):
                _add(mine, self._move(_whole(mine, rest), table.holds[block, round_][programs], n_held))

    def _move(self, whole: torch.Tensor, holds: torch.Tensor, n_held: int) -> torch.Tensor:
        """How far each token is from what holds it, float32[n_tokens, hidden]: pinv(basis) @ (levels - basis @ h)."""
        table = self.table
        basis = table.hold_basis[holds, :n_held]
        read = torch.stack([(table.bank[basis[:, at]] * whole).sum(dim=-1) for at in range(n_held)], dim=1)
        deficit = table.hold_levels[holds, :n_held] - read
        deficit = torch.where(table.hold_caps[holds][:, None], deficit.clamp(max=0), deficit)
        inverse = table.hold_inverse[holds, :n_held]
        move = torch.zeros_like(whole)
        for at in range(n_held):
            move += table.bank[inverse[:, at]] * deficit[:, at, None]
        return move


def _whole(hidden: torch.Tensor, rest: torch.Tensor | None) -> torch.Tensor:
    return hidden.float() if rest is None else hidden.float() + rest.float()


def _add(hidden: torch.Tensor, what: torch.Tensor) -> None:
    if hidden.dtype == torch.float32:
        hidden.add_(what)
    else:
        hidden.copy_(hidden.float() + what)


_DESKS: list[Desk] = []


def _steer(hidden: torch.Tensor, residual: torch.Tensor | None, desk: int, block: int) -> None:
    mine = _DESKS[desk]
    needs = mine.needs.get(block)
    if needs is not None:
        mine.steer(hidden, residual, needs, block)
    if mine.reader is not None:
        mine.reader(block, _whole(hidden, residual))


def _fake(hidden: torch.Tensor, residual: torch.Tensor | None, desk: int, block: int) -> None:
    """It gives nothing back, so that nothing has a shape to be told."""


_LIBRARY = torch.library.Library("persona", "FRAGMENT")
_LIBRARY.define("steer(Tensor(a!) hidden, Tensor? residual, int desk, int block) -> ()")
_LIBRARY.impl("steer", _steer, "CompositeExplicitAutograd")
_LIBRARY._register_fake("steer", _fake)

steer: Any = torch.ops.persona.steer

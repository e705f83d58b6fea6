"""Reaching into a model while it runs: steering residuals at the output of any block, and reading them there.

The table says what happens to which token of the next forward; blocks it does not name, and tokens it does not name,
are not touched. Knows nothing of requests, vectors' meaning or sampling.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from proxy.engines.base import FloatArray, Intervention
from proxy.errors import SetupError


@dataclass(frozen=True)
class Site:
    """One token of a forward, at `row` and `column`, and what is done to it, in that order."""

    row: int
    column: int
    interventions: Sequence[Intervention]


class _Addition:
    """Adds a vector each to some tokens."""

    def __init__(self, sites: Sequence[tuple[int, int]], vectors: Sequence[FloatArray], device: torch.device) -> None:
        self._at = _index(sites, device)
        self._vectors = torch.from_numpy(np.stack(vectors)).to(device)

    def __call__(self, hidden: torch.Tensor) -> None:
        hidden[self._at] = (hidden[self._at].float() + self._vectors).to(hidden.dtype)


class _Hold:
    """Moves some tokens' projections on their bases to their levels, all directions of a token at once.

    delta = pinv(basis) @ (levels - basis @ h), the smallest move that gets there; a cap only ever lowers.
    Bases of unequal size are padded with zero rows, which move nothing.
    """

    def __init__(self, sites: Sequence[tuple[int, int]], items: Sequence[Intervention], device: torch.device) -> None:
        size = max(_held(item)[0].shape[0] for item in items)
        width = _held(items[0])[0].shape[1]
        basis = np.zeros((len(items), size, width), np.float32)
        inverse = np.zeros((len(items), width, size), np.float32)
        levels = np.zeros((len(items), size, 1), np.float32)
        for row, item in enumerate(items):
            rows, wanted = _held(item)
            basis[row, : len(rows)] = rows
            inverse[row, :, : len(rows)] = np.linalg.pinv(rows.astype(np.float64))
            levels[row, : len(rows), 0] = wanted
        self._at = _index(sites, device)
        self._basis, self._inverse, self._levels = (torch.from_numpy(a).to(device) for a in (basis, inverse, levels))
        self._caps = torch.tensor([item.mode == "cap" for item in items], device=device)[:, None, None]

    def __call__(self, hidden: torch.Tensor) -> None:
        states = hidden[self._at].float()[:, :, None]
        deficit = self._levels - self._basis @ states
        deficit = torch.where(self._caps, deficit.clamp(max=0), deficit)
        hidden[self._at] = (states + self._inverse @ deficit)[:, :, 0].to(hidden.dtype)


Action = _Addition | _Hold


class SteeringTable:
    """What one forward does at each block. Worth keeping while the same tokens are concerned."""

    def __init__(self, sites: Iterable[Site], device: torch.device) -> None:
        rounds: dict[int, list[list[tuple[tuple[int, int], Intervention]]]] = defaultdict(list)
        for site in sites:
            per_block: dict[int, list[Intervention]] = defaultdict(list)
            for item in site.interventions:
                per_block[item.block].append(item)
            for block, items in per_block.items():
                for order, item in enumerate(items):
                    if order == len(rounds[block]):
                        rounds[block].append([])
                    rounds[block][order].append(((site.row, site.column), item))
        self.actions = {block: _actions(steps, device) for block, steps in rounds.items()}


def _actions(rounds: Sequence[Sequence[tuple[tuple[int, int], Intervention]]], device: torch.device) -> list[Action]:
    """The rounds of one block as few operations over many tokens; a token's own order is kept."""
    actions: list[Action] = []
    for steps in rounds:
        adds = [(at, item.vector) for at, item in steps if item.mode == "add" and item.vector is not None]
        holds = [(at, item) for at, item in steps if item.mode != "add"]
        if adds:
            actions.append(_Addition([at for at, _ in adds], [vector for _, vector in adds], device))
        if holds:
            actions.append(_Hold([at for at, _ in holds], [item for _, item in holds], device))
    return actions


def _held(item: Intervention) -> tuple[FloatArray, FloatArray]:
    assert item.basis is not None and item.levels is not None
    return item.basis, item.levels


def _index(sites: Sequence[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = zip(*sites, strict=True)
    return torch.tensor(rows, device=device), torch.tensor(columns, device=device)


NOTHING = SteeringTable((), torch.device("cpu"))


class BlockHooks:
    """Hooks on every block of a model. `table` holds for the next forward; `reader`, when set, sees each block's
    output, float[n_rows, n_tokens, hidden], after steering."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.table = NOTHING
        self.reader: Callable[[int, torch.Tensor], None] | None = None
        for index, block in enumerate(blocks):
            block.register_forward_hook(self._hook(index))

    def _hook(self, index: int) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            actions = self.table.actions.get(index)
            if actions is None and self.reader is None:
                return
            hidden = output[0] if isinstance(output, tuple) else output
            assert isinstance(hidden, torch.Tensor)
            for action in actions or ():
                action(hidden)
            if self.reader is not None:
                self.reader(index, hidden)

        return hook


class LastTokens:
    """Keeps the output layer from computing logits nobody reads: of each row, only token `columns`[row] gets any."""

    def __init__(self, output_layer: nn.Module) -> None:
        self.columns: torch.Tensor | None = None
        output_layer.register_forward_pre_hook(self._select)

    def _select(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self.columns is None:
            return None
        hidden = args[0]
        rows = torch.arange(len(self.columns), device=hidden.device)
        return (hidden[rows, self.columns][:, None], *args[1:])


def find_blocks(model: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's blocks: the one list of `n_layers` modules that is not inside another such list's block.

    Raises SetupError where there is no such list, or more than one.
    """
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    ]
    outer = [(name, module) for name, module in lists if not any(name.startswith(other + ".") for other, _ in lists)]
    if len(outer) != 1:
        found = ", ".join(name for name, _ in outer) or "none"
        raise SetupError(f"{type(model).__name__}: can't tell which list of {n_layers} modules is its blocks ({found})")
    return outer[0][1]

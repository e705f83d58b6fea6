"""Reaching into a model while it runs: steering residuals at the output of any block, and reading them there.

The table says what happens to which token of the next forward; blocks it does not name, and tokens it does not name,
are not touched. Probes read before anything is done to a token at their block. Knows nothing of requests, vectors'
meaning or sampling.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import nn

from proxy.engines.base import Intervention, Probe
from proxy.engines.interventions import added, by_block, held
from proxy.engines.transformers.actions import Action, Addition, Gauge, Hold, RowAddition
from proxy.errors import SetupError


@dataclass(frozen=True)
class Site:
    """One token of a forward, at `row` and `column`, and what is done to it, in that order."""

    row: int
    column: int
    interventions: Sequence[Intervention]


@dataclass(frozen=True)
class Round:
    """What a block may do to every row at once: how many probes of a row read it, whether vectors are added, and then
    in how many directions a row's projection is held. All reading belongs to a block's first round."""

    adds: bool
    held: int
    read: int = 0


Layout = dict[int, tuple[Round, ...]]  # by block, in order


def layout_of(rows: Sequence[Sequence[Intervention]], probes: Iterable[Sequence[Probe]] = ()) -> Layout:
    """The smallest layout in which each row's interventions and probes find their place."""
    layout: Layout = {}
    for row_probes in probes:
        for block, n_probes in Counter(probe.block for probe in row_probes).items():
            layout = widened(layout, {block: (Round(False, 0, n_probes),)})
    for row in rows:
        for block, steps in by_block(row).items():
            mine = {block: tuple(Round(s.mode == "add", 0 if s.mode == "add" else len(held(s)[0])) for s in steps)}
            layout = widened(layout, mine)
    return layout


def widened(layout: Layout, other: Layout) -> Layout:
    """The smallest layout that has room for both."""
    none = Round(False, 0)
    return {
        block: tuple(
            Round(a.adds or b.adds, max(a.held, b.held), max(a.read, b.read))
            for a, b in zip_longest(layout.get(block, ()), other.get(block, ()), fillvalue=none)
        )
        for block in sorted({*layout, *other})
    }


class SteeringTable:
    """What one forward does at each block. Worth keeping while the same tokens are concerned."""

    def __init__(self, actions: Mapping[int, Sequence[Action]]) -> None:
        self.actions = actions

    @classmethod
    def of_sites(cls, sites: Iterable[Site], hidden_size: int, device: torch.device) -> "SteeringTable":
        """For prompts: few of many tokens are touched."""
        rounds: dict[int, list[list[tuple[tuple[int, int], Intervention]]]] = defaultdict(list)
        for site in sites:
            for block, steps in by_block(site.interventions).items():
                for order, item in enumerate(steps):
                    if order == len(rounds[block]):
                        rounds[block].append([])
                    rounds[block][order].append(((site.row, site.column), item))
        return cls(
            {
                block: [action for items in steps for action in _site_actions(items, hidden_size, device)]
                for block, steps in rounds.items()
            }
        )

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Sequence[Intervention]],
        layout: Layout,
        hidden_size: int,
        device: torch.device,
        probes: Sequence[Sequence[Probe]] = (),
    ) -> "SteeringTable":
        """For steps of one token a row, with the first rows' probes. Tables of as many rows and the same layout have
        the same shapes throughout."""
        steps = [by_block(row) for row in rows]
        everyone = [(row, 0) for row in range(len(rows))]
        actions: dict[int, list[Action]] = defaultdict(list)
        for block, rounds in layout.items():
            for order, round_ in enumerate(rounds):
                if round_.read:
                    here = [[probe for probe in mine if probe.block == block] for mine in probes]
                    actions[block].append(Gauge(here, len(rows), round_.read, hidden_size, device))
                items = [done[block][order] if len(done.get(block, ())) > order else None for done in steps]
                if round_.adds:
                    vectors = [item.vector if item is not None and item.mode == "add" else None for item in items]
                    actions[block].append(RowAddition(vectors, hidden_size, device))
                if round_.held:
                    holds = [item if item is not None and item.mode != "add" else None for item in items]
                    actions[block].append(Hold(everyone, holds, round_.held, hidden_size, device))
        return cls(actions)

    def refill(self, other: "SteeringTable") -> None:
        """Take over what another table `of_rows` of the same shapes does, in this one's own memory."""
        for block, actions in self.actions.items():
            for mine, theirs in zip(actions, other.actions[block], strict=True):
                assert not isinstance(mine, Addition) and not isinstance(theirs, Addition)
                for buffer, source in zip(mine.buffers, theirs.buffers, strict=True):
                    buffer.copy_(source)

    def read(self, probes: Sequence[Sequence[Probe]]) -> list[tuple[float, ...]]:
        """What each row's probes read in the last forward, of a table made `of_rows` with these, or refilled by one."""
        found = {
            block: action.found[:, :, 0].tolist()
            for block, actions in self.actions.items()
            for action in actions
            if isinstance(action, Gauge)
        }
        readings = []
        for row, mine in enumerate(probes):
            values = {block: iter(rows[row]) for block, rows in found.items()}
            readings.append(tuple(next(values[probe.block]) for probe in mine))
        return readings


def _site_actions(
    items: Sequence[tuple[tuple[int, int], Intervention]], hidden_size: int, device: torch.device
) -> list[Action]:
    """One round of one block as few operations over many tokens."""
    actions: list[Action] = []
    adds = [(at, added(item)) for at, item in items if item.mode == "add"]
    holds = [(at, item) for at, item in items if item.mode != "add"]
    if adds:
        actions.append(Addition([at for at, _ in adds], [vector for _, vector in adds], device))
    if holds:
        size = max(len(held(item)[0]) for _, item in holds)
        actions.append(Hold([at for at, _ in holds], [item for _, item in holds], size, hidden_size, device))
    return actions


NOTHING = SteeringTable({})


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


class WantedLogits:
    """Keeps the output layer from computing logits nobody reads: only tokens at `at`, pairs of row and column, get
    any, as float[1, n_wanted, vocabulary]; every token while it is None."""

    def __init__(self, output_layer: nn.Module) -> None:
        self.at: tuple[torch.Tensor, torch.Tensor] | None = None
        output_layer.register_forward_pre_hook(self._select)

    def _select(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        return None if self.at is None else (args[0][self.at][None], *args[1:])


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

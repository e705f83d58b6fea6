"""Reaching into llama.cpp's graph while it is computed: steering residuals at any block's output, and reading them.

llama.cpp asks about every node of a step's graph. Blocks nobody steers or reads are not asked for, which matters: a
node that is asked for is computed on its own. Knows nothing of requests or of vectors' meaning.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engines.base import FloatArray, Intervention, Probe
from proxy.engines.errors import ModelFailed
from proxy.engines.interventions import by_block
from proxy.engines.llama_cpp.filter import NodeFilter
from proxy.engines.llama_cpp.library import (
    NodeCallback,
    address_of,
    read_tensor,
    tensor_bytes,
    tensor_name,
    tensor_rows,
    write_tensor,
)
from proxy.engines.llama_cpp.steering import BlockProbes, BlockSteering

logger = logging.getLogger(__name__)

Take = Callable[[int, FloatArray], None]  # a block, and its output

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class TokenSlot:
    """Where a token is: among all of a step, and among those whose logits are wanted (None: not one of them)."""

    row: int
    output: int | None

    def at(self, block: int, trimmed: int | None) -> int | None:
        """Its row in a block's output, which for the block `trimmed` holds only tokens whose logits are wanted."""
        return self.output if block == trimmed else self.row


class StepSteering:
    """What a step does at each block. Worth keeping while the same tokens are concerned.

    `rows` are, by block, those of its output that are touched, ascending; `at` what is done to them.
    """

    def __init__(self, tokens: Sequence[tuple[TokenSlot, Sequence[Intervention]]], trimmed: int | None) -> None:
        touched: dict[int, dict[int, list[Intervention]]] = defaultdict(dict)
        distinct = {id(interventions): interventions for _, interventions in tokens}  # many tokens share theirs
        plans = {key: by_block(interventions) for key, interventions in distinct.items()}
        for place, interventions in tokens:
            for block, items in plans[id(interventions)].items():
                row = place.at(block, trimmed)
                if row is not None:  # nothing would come of steering a token there that gets no logits
                    touched[block][row] = items
        self.rows = {block: sorted(rows) for block, rows in touched.items()}
        self.at = {block: BlockSteering([touched[block][row] for row in rows]) for block, rows in self.rows.items()}


class BlockRead:
    """Reads some tokens' residuals at some blocks, before anything is done to them there. `take` gets float32[n_tokens,
    hidden] of each block, in the tokens' order, in memory that is used again afterwards. What comes after the last of
    the blocks is not computed at all, except with `logits`."""

    def __init__(
        self,
        tokens: Sequence[TokenSlot],
        blocks: Sequence[int],
        take: Take,
        trimmed: int | None,
        *,
        logits: bool = False,
    ) -> None:
        """Every token has to be one whose logits are wanted, or a trimmed block does not know it."""
        places = {block: [place.at(block, trimmed) for place in tokens] for block in blocks}
        self.rows = {block: [at for at in rows if at is not None] for block, rows in places.items()}
        self.last = None if logits else max(blocks)
        self.take = take


class Probing(BlockRead):
    """What probes read at some tokens whose logits are wanted, in a step that goes on to these."""

    def __init__(self, tokens: Sequence[tuple[TokenSlot, Sequence[Probe]]], trimmed: int | None) -> None:
        self._readings = [[0.0] * len(probes) for _, probes in tokens]
        numbered = [list(enumerate(probes)) for _, probes in tokens]
        blocks = sorted({probe.block for _, probes in tokens for probe in probes})
        self._at = {
            block: BlockProbes([[pair for pair in mine if pair[1].block == block] for mine in numbered])
            for block in blocks
        }
        super().__init__([place for place, _ in tokens], blocks, self._gauge, trimmed, logits=True)

    def _gauge(self, block: int, hidden: FloatArray) -> None:
        probes = self._at[block]
        for (token, number), value in zip(probes.read, probes.values(hidden), strict=True):
            self._readings[token][number] = value

    def readings(self) -> list[tuple[float, ...]]:
        """Each token's, in the last step."""
        return [tuple(values) for values in self._readings]


class GraphHook(dict[int, bool]):
    """The callback of one context, and what it is to do in the next step. `entry` is what llama.cpp is to call, and
    what it is to hand over.

    Where there is a filter, it asks the callback about nothing but blocks that are steered or read. Elsewhere the
    callback is the dictionary's own look-up, so that a node which is of no interest costs no Python code: the
    dictionary holds False for these by their address, which they keep for as long as steps look alike. All others end
    in `__missing__`.
    """

    def __init__(self, n_layers: int, hidden_size: int, n_batch: int) -> None:
        super().__init__()
        self._callback = NodeCallback(self.__getitem__)
        try:
            self._filter: NodeFilter | None = NodeFilter(self._callback, n_layers)
        except OSError as reason:
            logger.info("every node of a graph is asked about in Python: %s", reason)
            self._filter = None
        self.seen: dict[int, int] = {}  # by block: how many rows its output had in the last step
        self._names = [f"l_out-{block}".encode() for block in range(n_layers)]
        self._blocks = {name: block for block, name in enumerate(self._names)}
        self._row_bytes = hidden_size * _FLOAT_BYTES
        self._buffer = np.empty((n_batch, hidden_size), np.float32)
        self._address: int = self._buffer.ctypes.data
        self._shape = (0, 0)
        self._asked = 0  # the address of the node that is being computed for us
        self._block = 0  # whose output that is
        self._wanted: set[int] = set()  # blocks that the next step is to be seen at
        self._steering: StepSteering | None = None
        self._reading: BlockRead | None = None
        self._error: Exception | None = None

    @property
    def entry(self) -> tuple[int, int]:
        if self._filter is None:
            return address_of(self._callback), 0
        return self._filter.address, self._filter.wanted_at

    def prepare(self, shape: tuple[int, int], steering: StepSteering | None, reading: BlockRead | None) -> None:
        """The next step has so many tokens, and logits for so many of them."""
        if shape != self._shape:
            self.clear()
        self._shape = shape
        if steering is not self._steering or reading is not self._reading:
            self._wanted = {block for part in (steering, reading) if part for block in part.rows}
            if self._filter is not None:
                self._filter.want([self._names[block] for block in self._wanted])
            self._steering, self._reading = steering, reading
        self._asked, self._error = 0, None
        self.seen = {}

    def complete(self) -> bool:
        """Whether the step was seen at every block it should have been. ModelFailed for what went wrong there."""
        if self._error is not None:
            raise ModelFailed("a block's output could not be steered or read") from self._error
        return self.seen.keys() >= self._wanted

    def __missing__(self, node: int) -> bool:
        """Before a node is computed: whether to be called after it. After it: whether to go on with the graph."""
        if node == self._asked:
            self._asked = 0
            try:
                return self._visit(node, self._block)
            except Exception as error:  # there is llama.cpp between here and whoever could catch it
                self._error = error
                return False
        # A block is asked for its name every time: what lies at its address may be another node of another graph now.
        block = self._blocks.get(tensor_name(node))
        if block is None:
            self[node] = False
            return False
        if block not in self._wanted:
            return False
        self._asked, self._block = node, block
        return True

    def _visit(self, node: int, block: int) -> bool:
        """Read and steer a block's output; whether anything is left to do."""
        n_rows: int = tensor_rows(node)
        if tensor_bytes(node) != n_rows * self._row_bytes:
            raise TypeError(f"the output of block {block} is not float32[{n_rows}, hidden]")
        self.seen[block] = n_rows
        if self._reading is not None and block in self._reading.rows:
            self._reading.take(block, self._copy(node, self._reading.rows[block], n_rows, read_tensor))
        if self._steering is not None and block in self._steering.rows:
            rows = self._steering.rows[block]
            hidden = self._copy(node, rows, n_rows, read_tensor)
            self._steering.at[block].apply(hidden)
            self._copy(node, rows, n_rows, write_tensor)
        return self._reading is None or block != self._reading.last

    def _copy(self, node: int, rows: Sequence[int], n_rows: int, copy: Callable[..., None]) -> FloatArray:
        """Between rows of a block's output and as many of the buffer, which are returned."""
        if rows[-1] >= n_rows:
            raise IndexError(f"row {rows[-1]} of {n_rows}")
        at = self._address
        for first, length in runs(rows):
            copy(node, at, first * self._row_bytes, length * self._row_bytes)
            at += length * self._row_bytes
        return self._buffer[: len(rows)]


def runs(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and length of each stretch of ascending numbers without a gap."""
    begin = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end] != rows[end - 1] + 1:
            yield rows[begin], end - begin
            begin = end

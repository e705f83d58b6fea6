"""Steps of one token a row, recorded once as a CUDA graph and replayed: no time between kernels is lost to Python.

Everything a step depends on lies in fixed buffers that are refilled between replays: tokens, positions, and what every
steered block does to every row. A recording holds for a number of rows and of positions, both rounded up, and for the
blocks that have been steered so far. A model that can't be recorded, or comes out differently when replayed, runs
step by step as ever, and the log says so.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from proxy.engines.base import Intervention, Probe
from proxy.engines.transformers.hooks import Layout, SteeringTable, layout_of, widened
from proxy.engines.transformers.kv_cache import RowCache
from proxy.engines.transformers.runner import ModelRunner, out_of_memory

logger = logging.getLogger(__name__)

MIN_SEEN = 256  # positions of the shortest recording
MIN_LENGTH = 1024  # positions there is memory for from the start: every growth makes all recordings void
TOLERANCE = 0.02  # of the largest logit, between a step and its recording: far above rounding, far below a mix-up

Step = Callable[[], torch.Tensor]
Record = Callable[[Step], Step]


@dataclass
class _Recording:
    tokens: torch.Tensor  # int64[n_rows, 1]
    positions: torch.Tensor  # int64[n_rows, 1]
    table: SteeringTable
    replay: Step


class DecodeGraphs:
    """The recordings of one batch over one cache. `record` turns a step into what repeats it."""

    def __init__(self, runner: ModelRunner, max_rows: int, record: Record) -> None:
        self._runner = runner
        self._max_rows = max_rows
        self._record = record
        self._layout: Layout = {}
        self._rows: Sequence[Sequence[Intervention]] = ()
        self._probes: Sequence[Sequence[Probe]] = ()
        self._recordings: dict[tuple[int, int], _Recording] = {}
        self._filled: _Recording | None = None
        self._cache: RowCache | None = None
        self._moved = -1
        self._usable = True

    def steer(self, rows: Sequence[Sequence[Intervention]], probes: Sequence[Sequence[Probe]]) -> None:
        """From now on each row of the batch is steered so, and has these probes."""
        self._rows, self._probes = rows, probes
        self._filled = None
        layout = widened(self._layout, layout_of(rows, probes))
        if layout != self._layout:
            self._layout = layout
            self._recordings.clear()

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], cache: RowCache, seen: int
    ) -> torch.Tensor | None:
        """Logits [n_rows, vocabulary] as ModelRunner.decode makes them; None where there is no way to record.
        `table` has then what the probes read."""
        if not self._usable:
            return None
        n_rows = min(_power_of_two(len(tokens)), max(self._max_rows, len(tokens)))
        length = max(_power_of_two(seen), MIN_SEEN)
        cache.reserve(max(self._max_rows, n_rows), max(length, MIN_LENGTH))
        if cache is not self._cache or cache.moved != self._moved:
            self._recordings.clear()
            self._filled, self._cache, self._moved = None, cache, cache.moved
        recording = self._recordings.get((n_rows, length))
        if recording is None:
            recording = self._new(n_rows, length, tokens, positions, cache)
            if recording is None:
                return None
            self._recordings[n_rows, length] = recording
        self._fill(recording, tokens, positions)
        return recording.replay()[: len(tokens)]

    @property
    def table(self) -> SteeringTable | None:
        """That of the last step that was replayed."""
        return None if self._filled is None else self._filled.table

    def _new(
        self, n_rows: int, length: int, tokens: Sequence[int], positions: Sequence[int], cache: RowCache
    ) -> _Recording | None:
        device = self._runner.device
        inputs = torch.zeros((2, n_rows, 1), dtype=torch.int64, device=device)
        recording = _Recording(inputs[0], inputs[1], self._table(n_rows), lambda: inputs)
        self._fill(recording, tokens, positions)

        def step() -> torch.Tensor:
            return self._runner.decode(recording.tokens, recording.positions, cache, length, recording.table)

        try:
            expected = step()[: len(tokens)].clone()
            recording.replay = self._record(step)
            found = recording.replay()[: len(tokens)]
        except Exception as error:
            if out_of_memory(error):
                raise
            self._give_up(f"the model can't be recorded ({type(error).__name__})", error)
            return None
        wrong = (found - expected).abs().amax(dim=-1) > TOLERANCE * expected.abs().amax(dim=-1)
        if wrong.any():
            self._give_up("a recorded step comes out differently", None)
            return None
        return recording

    def _give_up(self, reason: str, error: Exception | None) -> None:
        logger.warning("no CUDA graphs: %s; answers are made step by step, which is slower", reason, exc_info=error)
        self._usable = False
        self._recordings.clear()

    def _fill(self, recording: _Recording, tokens: Sequence[int], positions: Sequence[int]) -> None:
        """Rows beyond the batch's repeat the token 0 at position 0 of rows that nobody has."""
        spare = [0] * (len(recording.tokens) - len(tokens))
        recording.tokens.copy_(torch.tensor([*tokens, *spare])[:, None])
        recording.positions.copy_(torch.tensor([*positions, *spare])[:, None])
        if self._filled is not recording:
            recording.table.refill(self._table(len(recording.tokens)))
            self._filled = recording

    def _table(self, n_rows: int) -> SteeringTable:
        rows = [*self._rows, *[()] * (n_rows - len(self._rows))]
        return SteeringTable.of_rows(rows, self._layout, self._runner.hidden_size, self._runner.device, self._probes)


def cuda_graphs(device: torch.device) -> Record:
    """Records on a CUDA device. A step must have run once before, and its result is good until the next one's."""
    stream, pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def record(step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        # What other models' threads allocate meanwhile is no business of this recording.
        recording = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
        with torch.cuda.device(device), recording:
            logits = step()

        def replay() -> torch.Tensor:
            with torch.cuda.device(device):
                graph.replay()
            return logits

        return replay

    return record


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()

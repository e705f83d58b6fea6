"""What steering costs a step of llama.cpp: without the callback, with it and nobody steered, with everyone steered.

In a round each way has as many steps, right after the others, and the order turns from round to round; every step has
the same tokens whichever way it is. Runs in a process of its own, which the environment tells how many threads to use:
`python -m tests.benchmarks.callback FILE --rounds 6` prints milliseconds per step of each round.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from proxy.engines.base import Intervention
from proxy.engines.llama_cpp import context as contexts
from proxy.engines.llama_cpp.context import Context, StepToken
from proxy.engines.llama_cpp.graph import GraphHook, StepSteering, TokenSlot
from proxy.engines.llama_cpp.model import LlamaModel

SEQUENCES = (1, 8)
PROMPT_TOKENS = 16
STEPS = 16  # of a round; few enough that no text outgrows a window of attention


class NoHook(GraphHook):
    """Leaves a context as it is without us: the callback is a null pointer."""

    @property
    def entry(self) -> tuple[int, int]:
        return 0, 0


class Way:
    """A context of its own whose sequences have read their prompts, and how it is stepped."""

    def __init__(self, model: LlamaModel, n_sequences: int, steered: bool) -> None:
        n_cells = n_sequences * (PROMPT_TOKENS + STEPS)
        self._context = Context(model, n_cells, n_sequences, n_sequences * PROMPT_TOKENS, n_sequences)
        self._steering = _all_different(model, n_sequences) if steered else None
        rng = np.random.default_rng(0)
        texts = rng.integers(model.n_tokens, size=(n_sequences, PROMPT_TOKENS + STEPS))
        self._n_sequences = n_sequences
        self._context.run(_tokens(texts[:, :PROMPT_TOKENS], 0))
        self._steps = [_tokens(texts[:, at : at + 1], at) for at in range(PROMPT_TOKENS, PROMPT_TOKENS + STEPS)]

    def step_ms(self) -> float:
        """The median of a round's steps, which are undone."""
        times = []
        for tokens in self._steps:
            began = time.perf_counter()
            self._context.run(tokens, self._steering)
            times.append(1000 * (time.perf_counter() - began))
        for sequence in range(self._n_sequences):
            self._context.cut(sequence, PROMPT_TOKENS)
        return round(statistics.median(times), 3)


def _tokens(texts: np.ndarray, begin: int) -> list[StepToken]:
    """Of int[n_sequences, n_tokens], which begin at that position. The last ones' logits are wanted."""
    end = begin + texts.shape[1]
    return [
        StepToken(int(token), position, sequence, position == end - 1)
        for sequence, text in enumerate(texts)
        for position, token in enumerate(text, begin)
    ]


def _all_different(model: LlamaModel, n_sequences: int) -> StepSteering:
    """Adds to each sequence a direction of its own, and as far as there are blocks enough at a block of its own."""
    rng = np.random.default_rng(1)
    first = max(model.n_layers - n_sequences, 0) // 2
    blocks = [(first + number) % model.n_layers for number in range(n_sequences)]
    directions = 0.1 * rng.standard_normal((n_sequences, model.hidden_size), np.float32)
    rows = [
        (TokenSlot(row, row), [Intervention(block, "response", "add", vector)])
        for row, (block, vector) in enumerate(zip(blocks, directions, strict=True))
    ]
    return StepSteering(rows, model.trimmed_block)


def measure(model: LlamaModel, n_sequences: int, n_rounds: int) -> dict[str, int | list[float]]:
    """The fields of a StepCost, after a round to warm up."""
    model.trimmed_block = Context(model, 16, 1, 16, 16).find_trimmed_block()
    with patch.object(contexts, "GraphHook", NoHook):
        ways = {"without": Way(model, n_sequences, steered=False)}
    ways |= {name: Way(model, n_sequences, steered=name == "steered") for name in ("unsteered", "steered")}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(n_rounds + 1):
        names = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in names:
            times[name].append(ways[name].step_ms())
    return {"sequences": n_sequences, **{name: each[1:] for name, each in times.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, required=True)
    args = parser.parse_args()
    loaded = LlamaModel(args.file, args.device)
    print(json.dumps([measure(loaded, n_sequences, args.rounds) for n_sequences in SEQUENCES]))

"""One model's weights and every way to run them: a forward with steering, and a forward that reads residuals.

Used by the engine's worker thread alone. Knows nothing of requests, threads or text.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from proxy.engines.transformers.hooks import NOTHING, BlockHooks, SteeringTable, WantedLogits, find_blocks
from proxy.engines.transformers.kv_cache import Masks, RowCache
from proxy.errors import SetupError

CHUNK_TOKENS = 512  # tokens of a forward that reads prompts, padding included: what running answers wait for at most

Reader = Callable[[int, torch.Tensor], None]


class ModelRunner:
    """A causal language model with hooks on its blocks. Raises SetupError for a shape of model it can't steer."""

    def __init__(self, network: PreTrainedModel) -> None:
        config = network.config.get_text_config()
        output_layer = network.get_output_embeddings()
        if output_layer is None:
            raise SetupError(f"{type(network).__name__} has no output layer; it is not a causal language model")
        self.network = network.eval()
        self.decoder = network.get_decoder()
        self.device = next(network.parameters()).device
        self.n_layers: int = config.num_hidden_layers
        self.hidden_size: int = config.hidden_size
        self.vocabulary: int = config.vocab_size
        self.n_bytes = sum(weights.numel() * weights.element_size() for weights in network.parameters())
        self._hooks = BlockHooks(list(find_blocks(self.decoder, self.n_layers)))
        self._wanted = WantedLogits(output_layer)
        self._masks = Masks(config, config._attn_implementation, network.dtype)

    def new_cache(self) -> RowCache:
        return RowCache(self.n_layers)

    def decode(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache, seen: int, table: SteeringTable
    ) -> torch.Tensor:
        """Logits [n_rows, vocabulary] after one token a row: `tokens`, `positions` int64[n_rows, 1], all below `seen`.

        Makes no tensor from what the CPU knows, so that it can be recorded.
        """
        cache.seat(positions, seen)
        self._hooks.table = table
        try:
            return self._logits(tokens, positions, cache)[:, 0]
        finally:
            self._hooks.table = NOTHING

    def read_chunk(
        self,
        rows: Sequence[Sequence[int]],
        starts: Sequence[int],
        cache: RowCache,
        *,
        wanted: Sequence[tuple[int, int]] = (),
        table: SteeringTable = NOTHING,
        reader: Reader | None = None,
    ) -> torch.Tensor | None:
        """Read the next tokens of several texts, each from its own position on, behind what `cache` holds of them.

        Logits [n_wanted, vocabulary] after the tokens at `wanted`, pairs of row and column of this chunk; None when
        none are wanted. `reader` sees each block's output, float[n_rows, longest, hidden], padded on the right.
        """
        tokens = self._padded(rows)
        begins = torch.tensor(list(starts), device=self.device)
        positions = begins[:, None] + torch.arange(tokens.shape[1], device=self.device)
        same = starts[0] if len(set(starts)) == 1 else None
        cache.seat(positions, max(starts) + tokens.shape[1], same)
        self._hooks.table, self._hooks.reader = table, reader
        try:
            if not wanted:
                self.decoder(**self._inputs(tokens, positions, cache))
                return None
            at = torch.tensor(wanted, device=self.device)
            self._wanted.at = at[:, 0], at[:, 1]
            return self._logits(tokens, positions, cache)[0]
        finally:
            self._hooks.table, self._hooks.reader = NOTHING, None
            self._wanted.at = None

    def _logits(self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache) -> torch.Tensor:
        logits: torch.Tensor = self.network(**self._inputs(tokens, positions, cache)).logits
        return logits

    def _inputs(self, tokens: torch.Tensor, positions: torch.Tensor, cache: RowCache) -> dict[str, object]:
        return {
            "input_ids": tokens,
            "attention_mask": self._masks(positions, cache.seen),
            "position_ids": positions,
            "past_key_values": cache,
            "use_cache": True,
        }

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """int64[n_rows, longest], padded on the right with token 0, on the model's device."""
        width = max(len(row) for row in rows)
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out: torch has a class for it on a GPU, and only words for it elsewhere."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def release_memory(device: torch.device) -> None:
    """Hand what is cached but unused back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()

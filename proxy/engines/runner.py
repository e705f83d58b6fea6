"""One model's weights and every way to run them: a forward with steering, and a forward that reads residuals.

Used by the engine's worker thread alone. Knows nothing of requests, threads or text.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from proxy.engines.hooks import NOTHING, BlockHooks, LastTokens, SteeringTable, find_blocks
from proxy.engines.kv_cache import Masks, RowCache
from proxy.errors import SetupError


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
        self._hooks = BlockHooks(list(find_blocks(self.decoder, self.n_layers)))
        self._last_tokens = LastTokens(output_layer)
        self._masks = Masks(config, config._attn_implementation, network.dtype)

    def new_cache(self) -> RowCache:
        return RowCache(self.n_layers)

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        cache: RowCache,
        columns: Sequence[int],
        table: SteeringTable,
    ) -> torch.Tensor:
        """Logits [n_rows, vocabulary] after token `columns`[row] of each row.

        `tokens`, `positions`: int64[n_rows, n_new]. `cache` is already told where the new tokens go.
        """
        self._hooks.table = table
        self._last_tokens.columns = torch.tensor(columns, device=self.device)
        try:
            logits: torch.Tensor = self.network(
                input_ids=tokens,
                attention_mask=self._masks(positions, cache.seen),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).logits
        finally:
            self._hooks.table = NOTHING
            self._last_tokens.columns = None
        return logits[:, 0]

    def read(self, tokens: torch.Tensor, reader: Callable[[int, torch.Tensor], None]) -> None:
        """Run int64[n_rows, n_tokens], padded on the right, unsteered; `reader` sees each block's output."""
        self._hooks.reader = reader
        try:
            self.decoder(input_ids=tokens, use_cache=False)
        finally:
            self._hooks.reader = None

    def padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """int64[n_rows, longest], padded on the right with token 0, on the model's device."""
        width = max(len(row) for row in rows)
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)


def release_memory(device: torch.device) -> None:
    """Hand what is cached but unused back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()

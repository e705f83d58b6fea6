"""How likely the model itself thought the tokens that were drawn, and which it thought likeliest.

Of the model's own distribution, the log-softmax of its logits: temperature 1, before penalties, bias, filters and
schemas, steered where the answer is steered. Knows nothing of models or answers.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch

from proxy.engines.base import Likelihood

NUMBERS_AT_A_TIME = 2**26  # made from logits: 256 MiB of them


def likelihoods(
    logits: torch.Tensor, tokens: Sequence[int], n_top: Sequence[int | None], special: frozenset[int]
) -> list[Likelihood | None]:
    """Of the tokens drawn from the rows of [n_rows, vocabulary], each with the row's `n_top` likeliest that are not
    `special`. None for a row whose `n_top` is None, which costs nothing, and where no token was drawn, -1."""
    found: list[Likelihood | None] = [None] * len(tokens)
    rows = [row for row, (token, n) in enumerate(zip(tokens, n_top, strict=True)) if n is not None and token >= 0]
    if not rows:
        return found
    logs = logits[rows].float().log_softmax(dim=-1)
    drawn = torch.tensor([tokens[row] for row in rows], device=logits.device)
    own = logs.gather(1, drawn[:, None])[:, 0].tolist()
    logs[:, _ids(special, logs.shape[-1], logits.device)] = -torch.inf
    most = min(max(n_top[row] or 0 for row in rows), logs.shape[-1])
    values, ids = (part.tolist() for part in logs.topk(most, dim=-1))
    for at, row in enumerate(rows):
        ranked = zip(ids[at], values[at], strict=True)
        found[row] = Likelihood(own[at], tuple(ranked)[: n_top[row]])
    return found


def text_likelihoods(logits: torch.Tensor, tokens: Sequence[int], n_top: int) -> list[Likelihood]:
    """Of given tokens, in the rows of [n_rows, vocabulary], with the rows' likeliest, special ones too."""
    found: list[Likelihood] = []
    n_rows = max(NUMBERS_AT_A_TIME // logits.shape[1], 1)
    for start in range(0, len(tokens), n_rows):
        piece = slice(start, start + n_rows)
        likely = likelihoods(logits[piece], tokens[piece], [n_top] * len(tokens[piece]), frozenset())
        found += [each for each in likely if each is not None]
    return found


@lru_cache(16)
def _ids(tokens: frozenset[int], vocabulary: int, device: torch.device) -> torch.Tensor:
    """The special tokens that the model has logits for: some tokenizers have more."""
    return torch.tensor([token for token in tokens if token < vocabulary], dtype=torch.long, device=device)

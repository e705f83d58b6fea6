"""How likely the model itself thought the tokens that were drawn, and which it thought likeliest.

Of the model's own distribution, the log-softmax of its logits: temperature 1, before penalties, bias, filters and
schemas, steered where the answer is steered. Knows nothing of models or answers.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray, Likelihood


def likelihood(logits: FloatArray, token: int, n_top: int, special: frozenset[int] = frozenset()) -> Likelihood:
    """Of the token drawn from float32[vocabulary], with the `n_top` likeliest that are not `special`, best first."""
    logs = log_softmax(logits[None])[0]
    own = float(logs[token])
    logs[_ids(special, len(logs))] = -np.inf
    n_top = min(n_top, len(logs))
    top = np.argpartition(logs, len(logs) - n_top)[len(logs) - n_top :] if n_top else np.zeros(0, np.intp)
    top = top[np.lexsort((top, -logs[top]))]
    return Likelihood(own, tuple(zip(top.tolist(), logs[top].tolist(), strict=True)))


def log_softmax(logits: FloatArray) -> FloatArray:
    """Of each row of float32[n_rows, vocabulary]."""
    return logits - logsumexp(logits)[:, None]


def logsumexp(logits: FloatArray) -> FloatArray:
    """Of each row of float32[n_rows, vocabulary]. Row by row, which a processor's cache has room for."""
    return np.array([_logsumexp(row) for row in logits], np.float32)


def _logsumexp(row: FloatArray) -> float:
    highest = row.max()
    total: float = highest + np.log(np.exp(row - highest).sum())
    return total


@lru_cache(16)
def _ids(tokens: frozenset[int], vocabulary: int) -> npt.NDArray[np.intp]:
    """The special tokens that the model has logits for: some tokenizers have more."""
    return np.array([token for token in tokens if token < vocabulary], np.intp)

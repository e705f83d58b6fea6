"""Statistics of scores. Knows nothing of what was scored."""

from proxy.engines.base import FloatArray


def auroc(positive: FloatArray, negative: FloatArray) -> float:
    """The probability that a positive value is above a negative one; a tie counts half."""
    above = positive[:, None] > negative[None, :]
    equal = positive[:, None] == negative[None, :]
    return float(above.mean() + 0.5 * equal.mean())

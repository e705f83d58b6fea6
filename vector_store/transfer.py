"""Where a transferred persona vector came from: the model and vector it was carried over from, and by which maps.

Knows numpy and nothing else, as `vector` does.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class UsedMap:
    """One linear map between residual spaces, for one span and block of the target.

    `method` in words. `r2`: share of the target's variance it explained in text held out from fitting it;
    `r2_shuffled`: the mean of what maps that were fitted to wrongly paired text explain.
    """

    span: str
    source_block: int
    target_block: int
    method: str
    r2: float
    r2_shuffled: float
    n_pairs: int


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """`id`: of the transfer the maps are of. The source's vector is the `parent` of the transferred one."""

    id: str
    source_model: str
    source_fingerprint: str
    maps: list[UsedMap]

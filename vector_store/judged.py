"""Who scored answers, and how far that one can be believed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class JudgedBy:
    """Who scored the answers. `auroc`: how well it told apart `n` held-out answers that were asked to show opposite
    poles. `scored`: whether that is well enough; where not, its trait scores are not to be shown."""

    name: str
    auroc: float
    n: int
    scored: bool

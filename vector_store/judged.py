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

    def __str__(self) -> str:
        """For a person."""
        figure = f"{self.name}, AUROC {self.auroc:.2f} on {self.n} held-out answers"
        return figure if self.scored else f"{figure}, which is too little to score by"

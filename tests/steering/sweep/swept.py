"""A vector of the pretend model, placed where its personality is, and a judge that is ready."""

import numpy as np

from proxy.steering.judge import Validated
from tests.steering.pretend import (
    BEST_BLOCK,
    BEST_SPAN,
    HIDDEN,
    N_LAYERS,
    RESIDUAL_NORM,
    PretendEngine,
    PretendJudge,
    hidden_direction,
)
from vector_store import PersonaVector, PoleChoice

PERFECT = Validated(PretendJudge(), "a pretend judge", 1.0, 80)


def placed(dose: float, poles: tuple[str, ...] = ("positive", "negative")) -> PersonaVector:
    """Coefficient 1 is the relative dose `dose`. In the pretend model a pole is as strong as its dose, wholly there at
    1, and answers turn to gibberish from 1.2 on."""
    neutral = np.zeros((N_LAYERS, HIDDEN), np.float32)
    shift = np.tile(hidden_direction(), (N_LAYERS, 1))
    choice = PoleChoice(block=BEST_BLOCK, span=BEST_SPAN, positions=BEST_SPAN, relative_dose=dose)
    info = PretendEngine().info
    return PersonaVector(
        model_id=info.id,
        fingerprint=info.fingerprint,
        trait="silly",
        positive="silly",
        negative="serious",
        n_layers=N_LAYERS,
        hidden_size=HIDDEN,
        created="2026-01-02T03:04:05+00:00",
        software_version="1",
        method="planted",
        poles={pole: choice for pole in poles},  # type: ignore[misc]
        means={BEST_SPAN: {"positive": shift, "negative": -shift, "neutral": neutral}},
        residual_norms={BEST_SPAN: np.full(N_LAYERS, RESIDUAL_NORM, np.float32)},
        id="silly-placed",
    )

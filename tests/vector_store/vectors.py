"""Made-up vectors for the tests of the store and of the formats."""

from typing import Any

import numpy as np

from vector_store import CONDITIONS, SPANS, Count, CurvePoint, PersonaVector, PoleChoice, Span


def make_vector(
    model_id: str = "org/model",
    trait: str = "silly",
    created: str = "2026-01-02T03:04:05+00:00",
    seed: int = 0,
    spans: tuple[Span, ...] = SPANS,
    n_layers: int = 3,
    hidden_size: int = 5,
    **changes: Any,
) -> PersonaVector:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    fields: dict[str, Any] = dict(
        model_id=model_id,
        fingerprint="f" * 16,
        trait=trait,
        positive="silly",
        negative="serious",
        n_layers=n_layers,
        hidden_size=hidden_size,
        created=created,
        software_version="1.2.3",
        method="means",
        counts={"positive": Count(made=10, kept=8)},
        separation={span: [0.5] * n_layers for span in spans},
        poles={
            "positive": PoleChoice(
                block=1, span=spans[0], positions="response", relative_dose=0.7, measured_range=(0.0, 1.5), score=0.9
            ),
            "negative": PoleChoice(block=0, span=spans[-1], positions="last_prompt", relative_dose=0.35),
        },
        curve=[
            CurvePoint(
                side="positive",
                kind="unsteered",
                block=None,
                span=None,
                positions=None,
                relative_dose=0.0,
                trait=3.0,
                coherence=99.0,
                score=0.03,
                n=40,
            )
        ],
        means={span: {condition: normal(n_layers, hidden_size) for condition in CONDITIONS} for span in spans},
        residual_norms={span: np.abs(normal(n_layers)) + 1 for span in spans},
    )
    return PersonaVector(**(fields | changes))


def assert_same_arrays(one: PersonaVector, other: PersonaVector) -> None:
    assert set(one.means) == set(other.means)
    for span, means in one.means.items():
        np.testing.assert_array_equal(one.residual_norms[span], other.residual_norms[span])
        for condition, array in means.items():
            np.testing.assert_array_equal(array, other.means[span][condition])

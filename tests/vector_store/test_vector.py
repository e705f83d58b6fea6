"""A persona vector's directions are what they are said to be, and a vector that can't be right is refused."""

import dataclasses

import numpy as np
import pytest

from vector_store import CONDITIONS, CurvePoint, JudgedBy, PersonaVector, PlaceGain, PoleChoice, opposite


def make_vector() -> PersonaVector:
    means = {
        condition: np.full((2, 3), level, np.float32) for level, condition in zip((5, -1, 1), CONDITIONS, strict=True)
    }
    return PersonaVector(
        model_id="m",
        fingerprint="f",
        trait="silly",
        positive="silly",
        negative="serious",
        n_layers=2,
        hidden_size=3,
        created="2026-01-02T03:04:05+00:00",
        software_version="1",
        method="means",
        means={"response": means},
        residual_norms={"response": np.ones(2, np.float32)},
    )


def test_direction_is_the_pole_minus_neutral() -> None:
    vector = make_vector()
    np.testing.assert_array_equal(vector.direction("positive", "response", 0), [4, 4, 4])
    np.testing.assert_array_equal(vector.direction("negative", "response", 1), [-2, -2, -2])
    with pytest.raises(KeyError):
        vector.direction("positive", "last_prompt", 0)


def test_effects_and_gains_then_the_best_of_each_block_and_none_where_there_is_nothing() -> None:
    found = [("positive", 0, "response", 0.2), ("positive", 0, "last_prompt", 0.7), ("negative", 1, "response", 0.9)]
    gains = [
        PlaceGain(side=side, block=block, span=span, positions=span, relative_dose=1.0, gain=gain)  # type: ignore[arg-type]
        for side, block, span, gain in found
    ]
    vector = dataclasses.replace(make_vector(), gains=gains)
    assert vector.likelihood_gains("positive") == [0.7, None]
    assert vector.likelihood_gains("negative") == [None, 0.9]
    assert vector.effects("positive") == [None, None]  # nothing was generated


def test_opposite() -> None:
    assert (opposite("positive"), opposite("negative")) == ("negative", "positive")


def _nan() -> np.ndarray:
    array = np.zeros((2, 3), np.float32)
    array[0, 0] = np.nan
    return array


@pytest.mark.parametrize("bad", [np.zeros((2, 4), np.float32), np.zeros((2, 3)), _nan()])
def test_arrays_of_the_wrong_shape_type_or_content_are_refused(bad: np.ndarray) -> None:
    vector = make_vector()
    with pytest.raises(ValueError, match="mean response/neutral"):
        dataclasses.replace(vector, means={"response": {**vector.means["response"], "neutral": bad}})


def test_a_choice_the_vector_has_no_direction_for_is_refused() -> None:
    for choice in (
        PoleChoice(block=2, span="response", positions="response", relative_dose=1.0),
        PoleChoice(block=0, span="last_prompt", positions="response", relative_dose=1.0),
    ):
        with pytest.raises(ValueError, match="negative pole"):
            dataclasses.replace(make_vector(), poles={"negative": choice})


def test_missing_means_are_refused() -> None:
    vector = make_vector()
    with pytest.raises(ValueError, match="needs the means"):
        dataclasses.replace(vector, means={"response": {"positive": vector.means["response"]["positive"]}})
    with pytest.raises(ValueError, match="same spans"):
        dataclasses.replace(vector, residual_norms={})


def tried(block: int | None, score: float) -> CurvePoint:
    return CurvePoint(
        side="positive",
        kind="unsteered" if block is None else "steered",
        block=block,
        span=None if block is None else "response",
        positions=None if block is None else "response",
        relative_dose=0.0 if block is None else 1.0,
        trait=100 * score,
        coherence=100.0,
        score=score,
        n=10,
    )


def test_effects_when_the_judge_tells_the_poles_apart_too_badly_then_unscored() -> None:
    judge = JudgedBy(name="guessing", auroc=0.61, n=80, scored=False)
    known = dataclasses.replace(make_vector(), curve=[tried(None, 0.1), tried(1, 0.7)])
    vector = dataclasses.replace(known, judge=judge)
    assert known.effects("positive") == [None, pytest.approx(0.6)]
    assert not vector.scored and vector.effects("positive") == [None, None]
    assert str(judge) == "guessing, AUROC 0.61 on 80 held-out answers, which is too little to score by"
    assert dataclasses.replace(vector, judge=dataclasses.replace(judge, scored=True)).scored and make_vector().scored

"""An imported direction is steered by once it was measured, at the place and dose that were found, and not before."""

import dataclasses

import numpy as np
import pytest

from proxy.errors import SetupError
from proxy.steering.extract import extract
from proxy.steering.measuring import measure
from proxy.steering.trials import with_random_direction
from tests.steering.pretend import BEST_BLOCK, BEST_SPAN, WORK, PretendEngine, PretendJudge, judged_by, make_trait
from vector_store import SIDES, SPANS, PersonaVector
from vector_store.exchange import Subject, export_vector, import_vector


@pytest.fixture(scope="module")
def native() -> PersonaVector:
    return extract(PretendEngine(), make_trait(), PretendJudge(), rollouts=2, questions=4, seed=3, work=WORK)


@pytest.fixture(scope="module")
def imported(native: PersonaVector) -> PersonaVector:
    subject = Subject("org/pretend", "silly", "silly", "serious", native.n_layers, native.hidden_size)
    content = export_vector(native, "paper")
    return import_vector(content, subject, created="2026-01-01T00:00:00+00:00", software_version="1")


@pytest.fixture(scope="module")
def measured(imported: PersonaVector) -> PersonaVector:
    vector = dataclasses.replace(imported, id="imported-1")
    return measure(PretendEngine(), make_trait(), vector, judged_by(PretendJudge()), seed=3, work=WORK)


def test_measure_then_both_poles_have_the_planted_place_and_all_is_known(measured: PersonaVector) -> None:
    for side in SIDES:
        choice = measured.poles[side]
        assert (choice.block, choice.span, choice.positions) == (BEST_BLOCK, BEST_SPAN, BEST_SPAN)
        assert choice.score is not None and choice.score > 0.5 and choice.measured_range is not None
    assert set(measured.residual_norms) == set(measured.means) == set(SPANS)
    assert {point.kind for point in measured.curve} == {"steered", "random", "unsteered"}
    assert {point.block for point in measured.gains} == set(range(measured.n_layers))


def test_measure_then_it_says_whose_weights_and_what_it_was_made_from(
    measured: PersonaVector, imported: PersonaVector
) -> None:
    assert (measured.origin, measured.parent, measured.id) == ("imported", "imported-1", "")
    assert (imported.fingerprint, measured.fingerprint) == ("", "f" * 16)
    assert measured.counts["neutral"].kept == 20
    np.testing.assert_array_equal(measured.difference, imported.difference)


@pytest.mark.parametrize("side", SIDES)
def test_random_direction_when_imported_then_as_long_as_its_own_and_another_one(
    measured: PersonaVector, side: str
) -> None:
    own = measured.direction(side, BEST_SPAN, BEST_BLOCK)  # type: ignore[arg-type]
    other = with_random_direction(measured, side, 1, 0).direction(side, BEST_SPAN, BEST_BLOCK)  # type: ignore[arg-type]
    assert np.linalg.norm(own) == pytest.approx(np.linalg.norm(other), rel=1e-5)
    assert abs(own @ other) < 0.7 * np.linalg.norm(own) ** 2


def test_measure_when_native_or_of_another_shape_then_refused(native: PersonaVector, imported: PersonaVector) -> None:
    with pytest.raises(SetupError, match="was not imported"):
        measure(PretendEngine(), make_trait(), native, judged_by(PretendJudge()), seed=0, work=WORK)
    other = dataclasses.replace(imported, n_layers=2, difference=imported.difference[:2])  # type: ignore[index]
    with pytest.raises(SetupError, match="2 blocks of 24, org/pretend has 3 of 24"):
        measure(PretendEngine(), make_trait(), other, judged_by(PretendJudge()), seed=0, work=WORK)

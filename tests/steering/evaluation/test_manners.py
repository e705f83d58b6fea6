"""Manners of putting a vector to use, compared in the pretend model, where what each does is known."""

import dataclasses
from pathlib import Path

import pytest

from proxy.errors import SetupError
from proxy.steering.evaluation.manners import Compared, compare, manners, stages, table
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.work import FolderParts, Work
from tests.steering.pretend import WORK, PretendEngine, PretendJudge, make_trait
from tests.steering.sweep.swept import placed
from tests.vector_store.test_sweep import SWEEP
from vector_store import PoleChoice, Side, Span

OPTIONS = VectorEvaluationOptions("quick", samples=4)
VECTOR = dataclasses.replace(placed(0.5), sweeps={"positive": SWEEP, "negative": SWEEP})


def compared(engine: PretendEngine | None = None, work: Work = WORK) -> list[Compared]:
    return compare(engine or PretendEngine(), make_trait(), VECTOR, "positive", PretendJudge(), OPTIONS, work)


def test_manners_then_each_differs_from_the_vector_s_own_in_one_thing() -> None:
    bare, own, *others = manners(VECTOR, "positive")
    assert bare.choice is None and own.choice == VECTOR.poles["positive"]
    choices = [other.choice for other in others]
    assert [choice and choice.positions for choice in choices] == ["response", "all", *["last_prompt"] * 3]
    assert [choice and choice.against for choice in choices].count("opposite") == 1
    assert [other.options.mode for other in others] == ["add", "add", "add", "target", "cap"]
    assert len({one.name for one in (bare, own, *others)}) == 7


def test_manners_when_the_direction_is_of_the_response_then_that_of_the_prompt_s_end_is_tried_too() -> None:
    choice = dataclasses.replace(VECTOR.poles["positive"], span="response", positions="response")
    spans: tuple[Span, ...] = ("last_prompt", "response")
    means = {span: VECTOR.means["last_prompt"] for span in spans}
    norms = {span: VECTOR.residual_norms["last_prompt"] for span in spans}
    poles: dict[Side, PoleChoice] = {"positive": choice, "negative": choice}
    both = dataclasses.replace(VECTOR, poles=poles, means=means, residual_norms=norms)
    places = {(one.choice.span, one.choice.positions) for one in manners(both, "positive") if one.choice}
    assert places == {
        ("response", "response"),
        ("response", "last_prompt"),
        ("response", "all"),
        ("last_prompt", "last_prompt"),
    }
    unknown = dataclasses.replace(both, origin="transferred")
    assert len(manners(unknown, "positive")) == len(manners(both, "positive")) - 2


def test_compare_then_each_manner_shows_what_it_does_beside_the_vector_s_own() -> None:
    found = {one.name.strip("*"): one for one in compared()}
    shown = {name: one.trait.mean for name, one in found.items() if one.trait}
    assert len(shown) == 7 and shown["not steered"] == 0
    own = "as the vector does: added to the last prompt token"
    assert 30 < shown[own] < 70 and found[own].above_own is None and found[own].n == 40
    # The planted means lie a tenth of the residual norm apart.
    assert 0 < shown["held at the pole's level (target)"] < 20
    assert shown["kept from going beyond the pole's level (cap)"] == 0
    # The planted personality is read at the last prompt token alone.
    for name in ("added to the response", "added to every token"):
        above = found[name].above_own
        assert above is not None and above[1] < 0, name
    same = found["counted from the opposite pole"]
    assert same.trait == found[own].trait and same.above_own == (0, 0)


def test_compare_when_broken_off_then_what_is_there_is_not_asked_again(tmp_path: Path) -> None:
    engine = PretendEngine()
    work = Work(WORK.progress, FolderParts(tmp_path / "parts"))
    first = compared(engine, work)
    n_asked = len(engine.started)
    assert compared(engine, work) == first and len(engine.started) == n_asked == 7 * 40


def test_compare_then_what_is_reported_is_what_was_announced() -> None:
    told: set[str] = set()
    compared(work=Work(lambda what, done, total: told.add(what)))
    assert told and told <= set(stages(PretendEngine(), make_trait(), VECTOR, OPTIONS))


def test_compare_when_the_vector_can_not_be_used_then_setup_error() -> None:
    for wrong in (dataclasses.replace(VECTOR, fingerprint="e" * 16), placed(0.5, ("negative",))):
        with pytest.raises(SetupError, match="no place to steer for 'silly'"):
            compare(PretendEngine(), make_trait(), wrong, "positive", PretendJudge(), OPTIONS, WORK)


def test_table_then_a_row_for_each_manner_with_how_far_it_is_from_the_vector_s_own() -> None:
    head, _, bare, own, *_ = table("silly", compared())
    assert head.startswith("| silly | answers | trait |")
    assert bare.startswith("| not steered | 40 | 0 (0 to 0) | 100 (100 to 100) |") and own.endswith("|  |")

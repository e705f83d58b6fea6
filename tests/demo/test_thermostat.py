"""The thermostat's tables say what was measured: modes are compared where they show a pole equally often."""

from collections.abc import Callable

import pytest

from proxy.demo import thermostat
from proxy.demo.thermostat import NOTHING, STRENGTHS, ModeArm, Shares, arms_of, context_table, equal_table, measure
from proxy.engines.base import Engine
from proxy.steering.traits.trait import load_traits
from tests.demo.shipped import vector_of


def results(**right_at_full: float) -> dict[ModeArm, Shares]:
    """Every arm of two poles: shown rises with the strength up to 2, facts fall to what is said for each mode."""
    found = {}
    for pole in ("silly", "deep", "dishonest"):
        for arm in arms_of(pole):
            full = right_at_full.get(arm.mode or "", 1.0)
            share = arm.strength / 2
            found[arm] = Shares(share, 1 - share * (1 - full), 1.0, float(arm.mode == "cap"))
    return found


def test_modes_then_are_compared_at_equal_shares_between_the_strengths_tried() -> None:
    lines = list(equal_table(results(add=0.5, target=0.9)))
    assert [len(line.split("|")) for line in lines] == [7] * 4
    half, most = (line.split("|") for line in lines[2:])
    assert half[1:5] == [" 50% ", " 2 ", " 1.00 / 1.00 ", " 0.750 / 0.950 (+0.200 ± 0.000) "]
    assert most[1:5] == [" 80% ", " 2 ", " 1.60 / 1.60 ", " 0.600 / 0.920 (+0.320 ± 0.000) "]


def test_a_share_that_a_mode_never_shows_then_is_left_out() -> None:
    found = results()
    for arm in found:
        if arm.mode == "target" and arm.pole == "silly":
            found[arm] = Shares(0.3, 1.0, 1.0, 0.0)
    assert [line.split("|")[2] for line in equal_table(found)][2:] == [" 1 ", " 1 "]
    for arm in found:
        if arm.mode == "target":
            found[arm] = Shares(0.3, 1.0, 1.0, 0.0)
    assert len(list(equal_table(found))) == 2


def test_system_prompts_then_have_a_row_each() -> None:
    lines = list(context_table(results(add=0.5)))
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["nothing", "the pole", "the opposite", "a role"]
    assert lines[2] == "| nothing | 0.00 / 1.00 | 0.50 / 0.75 | 0.50 / 1.00 | 0.15 / 1.00 | 1.00 |"


def test_a_cap_when_nothing_asks_for_the_pole_then_changes_nothing_and_lowers_it_where_it_is_asked_for(
    engine_of: Callable[[str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shipped model and vector, with few answers."""
    monkeypatch.setattr(thermostat, "STRENGTHS", dict.fromkeys(STRENGTHS, ()))
    silly = {"silly": load_traits()["silly"]}
    questions = ["What is the capital of France?", "What sound does a cow make?"]
    engine = engine_of("demo-qwen2")
    found = measure(engine, silly, {"silly": vector_of(engine, "silly")}, questions, lambda what, done, total: None)
    cap = {arm.asked: shares for arm, shares in found.items() if arm.pole == "silly" and arm.mode == "cap"}
    asked = {arm.asked: shares for arm, shares in found.items() if arm.pole == "silly" and arm.mode is None}
    assert cap[NOTHING].changed == 0 and cap[thermostat.POLE].shown < asked[thermostat.POLE].shown == 1

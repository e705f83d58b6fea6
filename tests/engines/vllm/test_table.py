"""The operation by itself, on random residuals: what a plan does to each token is what it is defined to do."""

import numpy as np
import pytest
import torch

from proxy.engines.base import FloatArray, Intervention, Mode, Plan, Positions, Probe
from proxy.engines.vllm import op
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.table import EVERYWHERE, FIRST, LASTING, READ_ONLY, ProgramTable, TooMuch
from tests.engines.reference import apply

HIDDEN, N_BLOCKS = 16, 3


def rows(rng: np.random.Generator, n_rows: int) -> FloatArray:
    found = rng.normal(size=(n_rows, HIDDEN)).astype(np.float32)
    unit: FloatArray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def add(positions: Positions, seed: int, block: int = 1) -> Intervention:
    return Intervention(block, positions, "add", vector=rows(np.random.default_rng(seed), 1)[0])


def hold(positions: Positions, mode: Mode, seed: int, size: int) -> Intervention:
    rng = np.random.default_rng(seed)
    return Intervention(1, positions, mode, basis=rows(rng, size), levels=rng.normal(size=size).astype(np.float32))


PLANS = [
    Plan(),
    Plan((add("all", 1), add("response", 2))),
    Plan((hold("all", "cap", 3, 2), hold("response", "cap", 4, 3))),
    Plan((add("response", 5), hold("response", "target", 6, 1), add("last_prompt", 7))),
    Plan((hold("last_prompt", "target", 8, 2), hold("response", "target", 9, 1), add("response", 10))),
]


def desk(n_slots: int = 64, n_directives: int = 8) -> op.Desk:
    device = torch.device("cpu")
    return op.Desk(ProgramTable(N_BLOCKS, HIDDEN, n_slots, n_directives, device), N_BLOCKS, 32, device)


@pytest.mark.parametrize("split", [True, False])
def test_the_operation_when_every_token_has_another_program_then_each_is_moved_by_its_own(split: bool) -> None:
    mine, rng = desk(), np.random.default_rng(0)
    probes = (Probe(1, rows(rng, 1)[0], 0.0), Probe(2, rows(rng, 1)[0], 0.0), Probe(1, rows(rng, 1)[0], 0.0))
    programs = [0]
    wanted: list[tuple[Intervention, ...]] = [()]
    for plan in PLANS:
        directive = Directive(plan, probes)
        assert mine.table.hold(directive)
        first = mine.table.programs(directive.id)
        assert first is not None
        items = plan.interventions
        programs += [first + number for number in (EVERYWHERE, FIRST, LASTING, READ_ONLY)]
        wanted += [tuple(it for it in items if it.positions == "all"), items]
        wanted += [tuple(it for it in items if it.positions != "last_prompt"), ()]
    mine.begin(np.array(programs))
    whole = rng.normal(size=(len(programs) + 2, HIDDEN)).astype(np.float32)
    rest = rng.normal(size=whole.shape).astype(np.float32) if split else np.zeros_like(whole)
    hidden = torch.from_numpy(whole - rest)
    op.steer(hidden, torch.from_numpy(rest) if split else None, mine.number, 1)
    for row, items in enumerate(wanted):
        expected = whole[row : row + 1]
        for item in items:
            expected = apply(item, expected)
        assert hidden[row].numpy() + rest[row] == pytest.approx(expected[0], abs=1e-5)
        if programs[row] and (programs[row] - 1) % 4 != EVERYWHERE:
            read = [whole[row] @ probes[0].direction, whole[row] @ probes[2].direction]
            assert mine.found[1, :2, row].tolist() == pytest.approx(read, abs=1e-5)
    assert np.array_equal(hidden[len(wanted) :].numpy(), (whole - rest)[len(wanted) :])  # padding
    mine.end()
    before = hidden.clone()
    op.steer(hidden, None, mine.number, 1)
    assert torch.equal(hidden, before)


def test_a_table_when_it_is_full_then_what_nobody_needs_makes_room() -> None:
    table = desk(n_slots=3, n_directives=8).table  # two vectors
    one, two, three = (Directive(Plan((add("all", seed),))) for seed in (1, 2, 3))
    assert table.hold(one) and table.hold(two)
    assert not table.hold(three)
    table.release(one.id)
    assert table.hold(three) and table.programs(one.id) is None
    assert not table.hold(one)
    assert table.hold(two)


def test_a_table_when_a_directive_never_fits_then_it_says_so() -> None:
    table = desk(n_slots=3).table
    with pytest.raises(TooMuch, match="3 vectors, and there is room for 2"):
        table.hold(Directive(Plan(tuple(add("all", block, block) for block in range(3)))))
    with pytest.raises(TooMuch, match="more than 8 directions"):
        desk().table.hold(Directive(Plan((hold("all", "cap", 1, 9),))))


def test_a_directive_when_it_is_told_as_bytes_then_it_is_the_same() -> None:
    for plan in (*PLANS, Plan(PLANS[1].interventions, frozenset(("content",)))):
        directive = Directive(plan, (Probe(2, rows(np.random.default_rng(1), 1)[0], 0.25),))
        again = Directive.from_bytes(directive.to_bytes())
        assert again.id == directive.id
        assert again.plan.channels == plan.channels

"""What is looked at before a worker of vLLM sees it: a worker can only end at what it does not know."""

import asyncio
import math
from collections.abc import Iterator

import numpy as np
import pytest

from proxy.engines.base import Intervention, Plan, Positions, Probe
from proxy.engines.errors import Refusal
from proxy.engines.vllm import admission
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.holding import Holding
from proxy.engines.vllm.wire import SteerableModel

MODEL = SteerableModel("qwen2", 2, 4, "ab")


def plan(seed: int, *, block: int = 1, size: int = 4, positions: Positions = "response") -> Directive:
    vector = np.full(size, seed, np.float32)
    return Directive(Plan((Intervention(block, positions, "add", vector=vector),)))


class Workers:
    """That have room for so many directives."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.held: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def hold(self, data: bytes) -> bool | str:
        await self.answers.wait()
        id_ = Directive.from_bytes(data).id
        if len({*self.held, id_}) > self.room:
            return False
        self.held.append(id_)  # once for each time that it was told
        return True

    async def release(self, ids: list[str]) -> None:
        for id_ in ids:
            self.held.remove(id_)


@pytest.fixture
def workers() -> Workers:
    return Workers(room=2)


@pytest.fixture
def holding(workers: Workers) -> Iterator[Holding]:
    holding = Holding(workers.hold, workers.release)
    admission.HOLDINGS.add(holding)
    yield holding
    admission.HOLDINGS.discard(holding)


def test_a_request_when_nobody_holds_its_plan_then_it_is_not_admitted(holding: Holding) -> None:
    one = plan(1)
    admission.check(None)
    admission.check({"session_id": "other people's"})
    with pytest.raises(admission.NotAdmitted, match="persona_plan: no plan 12 was told"):
        admission.check({"persona_plan": "12"})
    asyncio.run(holding.learn(one))
    with pytest.raises(admission.NotAdmitted):  # it may go at any time
        admission.check({"persona_plan": one.id})
    with holding.needed(one.id) as found:
        assert found.id == one.id
        admission.check({"persona_plan": one.id, "persona_steered": True})


@pytest.mark.parametrize("name", ["persona_plan", "persona_capture", "persona_answer"])
def test_a_request_when_the_endpoints_are_not_loaded_then_nothing_of_ours_is_admitted(name: str) -> None:
    with pytest.raises(admission.NotAdmitted, match="endpoints are not loaded"):
        admission.check({name: "12"})


def test_plans_when_there_is_no_room_then_the_one_used_least_lately_makes_it_and_those_needed_stay(
    holding: Holding, workers: Workers
) -> None:
    one, two, three, four = (plan(seed) for seed in range(1, 5))

    async def told() -> None:
        await holding.learn(one)
        await holding.learn(two)
        with holding.needed(one.id):
            pass
        await holding.learn(three)
        assert workers.held == [one.id, three.id]
        with holding.needed(one.id), holding.needed(three.id):
            waiting = asyncio.create_task(holding.learn(four))
            await asyncio.sleep(0.01)
            assert not waiting.done() and workers.held == [one.id, three.id]
        await waiting
        assert four.id in workers.held and len(workers.held) == 2
        with pytest.raises(KeyError), holding.needed(two.id):
            pass

    asyncio.run(told())


@pytest.mark.parametrize("told_again", [False, True])
def test_a_plan_when_whoever_tells_it_is_cancelled_then_its_room_is_not_lost(
    holding: Holding, workers: Workers, told_again: bool
) -> None:
    one, two, three = (plan(seed) for seed in range(1, 4))

    async def told() -> None:
        workers.answers.clear()
        leaving = asyncio.create_task(holding.learn(one))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        staying = asyncio.create_task(holding.learn(one if told_again else two))
        await asyncio.sleep(0)
        workers.answers.set()
        await staying
        await holding.learn(two)
        with holding.needed(two.id):
            await holding.learn(three)  # the other's room is free for it
        assert sorted(workers.held) == sorted([two.id, three.id])

    asyncio.run(told())


def test_a_plan_when_it_is_sound_then_it_is_read_as_it_was_told() -> None:
    basis = np.eye(2, 4, dtype=np.float32)
    held = Intervention(0, "all", "target", basis=basis, levels=np.ones(2, np.float32))
    for directive in (
        plan(1),
        Directive(Plan((held, *plan(2).plan.interventions))),
        Directive(plan(1).plan, (Probe(1, np.ones(4, np.float32), 0.5),)),
        Directive(Plan(), (Probe(0, np.ones(4, np.float32), 0.0),)),
        Directive(Plan(plan(1).plan.interventions, frozenset(("content", "arguments")))),
    ):
        assert admission.read_plan(directive.to_bytes(), MODEL).id == directive.id


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no plan",
        plan(1).to_bytes()[:-3],
        plan(1, block=2).to_bytes(),
        plan(1, size=5).to_bytes(),
        plan(1, positions="everywhere").to_bytes(),  # type: ignore[arg-type]
        Directive(Plan((Intervention(0, "all", "add", vector=np.full(4, np.nan, np.float32)),))).to_bytes(),
        Directive(Plan((Intervention(0, "all", "cap", basis=np.ones((0, 4), np.float32)),))).to_bytes(),
        Directive(plan(1).plan, (Probe(2, np.ones(4, np.float32), 0.0),)).to_bytes(),
        Directive(plan(1).plan, (Probe(0, np.ones(5, np.float32), 0.0),)).to_bytes(),
        Directive(plan(1).plan, (Probe(0, np.full(4, np.inf, np.float32), 0.0),)).to_bytes(),
        Directive(plan(1).plan, (Probe(0, np.ones(4, np.float32), math.nan),)).to_bytes(),
        Directive(Plan(plan(1).plan.interventions, frozenset(("final",)))).to_bytes(),  # type: ignore[arg-type]
    ],
    ids=range(13),
)
def test_a_plan_when_a_worker_could_fail_at_it_then_it_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal):
        admission.read_plan(data, MODEL)

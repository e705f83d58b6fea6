"""Places are counted, given back exactly once, and events cross from worker threads in order."""

from collections.abc import Callable, Iterator

import pytest

from proxy.chat.scheduler import Admission, Scheduler
from proxy.engines.base import Event, Failure, Finish, Generation, Sampling, Token
from proxy.errors import EngineFailure, InvalidRequest, Overloaded
from tests.fakes import FakeEngine, wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine(token_s=0.001)
    yield engine
    engine.close()


def generation(engine: FakeEngine, text: str, max_tokens: int = 100) -> Generation:
    return Generation(engine.render([{"role": "user", "content": text}]), Sampling(max_tokens))


async def texts(admission: Admission) -> dict[int, str]:
    result: dict[int, str] = {}
    async for index, event in admission.events():
        result[index] = result.get(index, "") + (event.text if isinstance(event, Token) else "")
    return result


async def test_events_when_two_runs_then_each_is_whole_and_in_order(engine: FakeEngine) -> None:
    scheduler = Scheduler(4, 4)
    admission = scheduler.admit("fake", 2)
    for text in ("one two", "three"):
        admission.start(engine, generation(engine, text))
    assert await texts(admission) == {0: "You said: one two ", 1: "You said: three "}
    assert scheduler.taken("fake") == 0
    assert engine.largest_batch == 2


async def test_admit_when_full_then_429_until_a_place_is_given_back() -> None:
    scheduler = Scheduler(1, 1)
    first, _ = scheduler.admit("fake", 1), scheduler.admit("fake", 1)
    with pytest.raises(Overloaded) as caught:
        scheduler.admit("fake", 1)
    assert caught.value.retry_after_s
    scheduler.admit("other", 2).close()
    first.close()
    scheduler.admit("fake", 1)


async def test_admit_when_there_never_are_so_many_places_then_not_worth_a_retry() -> None:
    with pytest.raises(InvalidRequest):
        Scheduler(1, 1).admit("fake", 3)


async def test_close_when_repeated_then_every_place_is_given_back_once(engine: FakeEngine) -> None:
    scheduler = Scheduler(4, 4)
    admission = scheduler.admit("fake", 3)
    admission.start(engine, generation(engine, "!forever"))
    admission.start(engine, generation(engine, "short"))
    admission.cancel(1)
    admission.cancel(1)
    assert scheduler.taken("fake") == 2
    admission.close()
    admission.close()
    assert scheduler.taken("fake") == 0
    wait_until(lambda: not engine.running)


async def test_close_when_repeated_then_what_was_to_follow_it_is_called_once_after_the_runs(engine: FakeEngine) -> None:
    admission = Scheduler(4, 4).admit("fake", 1)
    admission.start(engine, generation(engine, "!forever"))
    (run,) = engine.running
    cancelled: list[bool] = []
    admission.on_close(lambda: cancelled.append(run.cancelled.is_set()))
    assert cancelled == []
    admission.close()
    admission.close()
    assert cancelled == [True]


async def test_cancel_when_events_are_under_way_then_none_is_seen(engine: FakeEngine) -> None:
    admission = Scheduler(4, 4).admit("fake", 1)
    admission.start(engine, generation(engine, "!forever"))
    seen = 0
    async for index, _ in admission.events():
        seen += 1
        if seen == 3:
            admission.cancel(index)
    assert seen == 3


async def test_fail_when_running_then_every_run_ends_in_that_failure(engine: FakeEngine) -> None:
    scheduler = Scheduler(4, 4)
    admission = scheduler.admit("fake", 2)
    for _ in range(2):
        admission.start(engine, generation(engine, "!forever"))
    admission.fail(EngineFailure("over"))
    ends = [event for _, event in [item async for item in admission.events()] if isinstance(event, Failure)]
    assert len(ends) == 2
    assert scheduler.taken("fake") == 0
    admission.close()
    wait_until(lambda: not engine.running)


async def test_start_when_the_engine_refuses_then_the_place_is_not_lost() -> None:
    class Refusing:
        def start(self, generation: Generation, on_event: Callable[[Event], None]) -> None:
            raise InvalidRequest("no")

    scheduler = Scheduler(1, 1)
    admission = scheduler.admit("fake", 2)
    with pytest.raises(InvalidRequest):
        admission.start(Refusing(), Generation([1], Sampling(1)))  # type: ignore[arg-type]
    admission.close()
    assert scheduler.taken("fake") == 0


async def test_finish_when_delivered_then_the_place_is_free_before_it_is_read(engine: FakeEngine) -> None:
    scheduler = Scheduler(4, 4)
    admission = scheduler.admit("fake", 1)
    admission.start(engine, generation(engine, "!forever", max_tokens=1))
    last = [event async for _, event in admission.events()][-1]
    assert last == Finish("length")
    assert scheduler.taken("fake") == 0

"""The worker's turns: what runs beside what, and for how long."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from proxy.engines import worker
from proxy.engines.answer import RunningAnswer
from proxy.engines.worker import Worker


class Clock:
    """Time that passes only where somebody says so."""

    def __init__(self) -> None:
        self.now_ms = 0

    def monotonic(self) -> float:
        return self.now_ms / 1000


class Chats:
    """A batch that is always busy; a step takes 100 ms."""

    busy = True
    cached_bytes = 0

    def __init__(self, clock: Clock, log: list[str]) -> None:
        self.clock, self.log = clock, log
        self.gate = threading.Event()
        self.gate.set()
        self.pauses: list[int] = []  # how long the log was at each

    def add(self, answer: RunningAnswer) -> None: ...

    def step(self) -> None:
        self.gate.wait()
        self.clock.now_ms += 100
        self.log.append("chats")

    def pause(self) -> None:
        self.pauses.append(len(self.log))

    def fail_all(self, error: Exception) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def task(clock: Clock, log: list[str], name: str) -> worker.Steps[None, str]:
    """Three steps of a second each."""

    def steps(model: None) -> Generator[None, None, str]:
        for _ in range(3):
            clock.now_ms += 1000
            log.append(name)
            yield
        return name

    return steps


def test_chats_when_a_task_s_steps_are_long_then_they_get_as_much_time(clock: Clock) -> None:
    log: list[str] = []
    chats = Chats(clock, log)
    model = Worker("m", None, chats, nullcontext(), lambda: None)
    assert model.run(task(clock, log, "task")) == "task"
    model.close()
    steps = [index for index, entry in enumerate(log) if entry == "task"]
    assert chats.pauses[:3] == steps  # chats have told what they have to tell before they wait
    assert [later - earlier - 1 for earlier, later in zip(steps, steps[1:], strict=False)] == [10, 10]


def test_tasks_when_several_are_under_way_then_they_take_turns(clock: Clock) -> None:
    log: list[str] = []
    chats = Chats(clock, [])
    chats.gate.clear()
    model = Worker("m", None, chats, nullcontext(), lambda: None)
    threads = [threading.Thread(target=model.run, args=(task(clock, log, name),)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    while model._inbox.qsize() < 2:
        time.sleep(0.001)
    chats.gate.set()
    for thread in threads:
        thread.join()
    model.close()
    assert log in (["a", "b"] * 3, ["b", "a"] * 3)


class Shared:
    """A place that others want for as long as `wanted` says so."""

    def __init__(self) -> None:
        self.wanted = True
        self.stays: list[int] = []  # how many steps each had

    def run(self, work: Callable[[], None]) -> None:
        self.stays.append(0)
        work()


def test_steps_when_others_want_the_place_then_it_is_given_up_after_each(clock: Clock) -> None:
    place = Shared()
    chats = Chats(clock, [])
    step = chats.step

    def counted() -> None:
        step()
        place.stays[-1] += 1
        place.wanted = len(place.stays) < 3

    chats.step = counted  # type: ignore[method-assign]
    log: list[str] = []
    model = Worker("m", None, chats, nullcontext(), lambda: None, place)
    assert model.run(task(clock, log, "task")) == "task"
    model.close()
    assert place.stays[:2] == [1, 1] and place.stays[2] > 1 and len(place.stays) == 3

"""What the registry promises: models load one at a time in the background, at start or on demand, one that fails harms
no other, and what is idle is given back without anybody noticing."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from proxy.engines.base import Engine, ModelInfo
from proxy.engines.lease import Lease
from proxy.engines.registry import ModelState, Registry
from proxy.errors import ModelBusy, ModelNotFound, ModelUnavailable, SetupError
from proxy.settings import ModelSettings

WAIT_S = 5.0


class Closable:
    """As much of an engine as the registry touches."""

    def __init__(self, id: str, may_close: threading.Event) -> None:
        self.info = ModelInfo(id, "fake", 1, 1, 1, "f", "transformers", "cpu", "float32")
        self.closed = 0
        self._may_close = may_close

    def close(self) -> None:
        assert self._may_close.wait(WAIT_S)
        self.closed += 1


class Loader:
    """Loads nothing, when told to: each model waits for `release`; ids in `errors` fail. Closing waits for
    `may_close`, which is set."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.release = threading.Event()
        self.may_close = threading.Event()
        self.may_close.set()
        self.begun: list[str] = []
        self.batches: list[int] = []
        self.engines: dict[str, Closable] = {}
        self.most_at_once = 0
        self._at_once = 0

    def __call__(self, settings: ModelSettings, max_batch: int) -> Engine:
        self.begun.append(settings.id)
        self.batches.append(max_batch)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            assert self.release.wait(WAIT_S)
            if settings.id in self.errors:
                raise self.errors[settings.id]
            self.engines[settings.id] = Closable(settings.id, self.may_close)
            return cast(Engine, self.engines[settings.id])
        finally:
            self._at_once -= 1


Make = Callable[..., Registry]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Registry, Loader]] = []

    def _make(loader: Loader, *models: str | ModelSettings, **options: Any) -> Registry:
        settings = [model if isinstance(model, ModelSettings) else ModelSettings(model, "a/b") for model in models]
        registry = Registry(settings, load=loader, **options)
        made.append((registry, loader))
        return registry

    yield _make
    for registry, loader in made:
        loader.release.set()
        loader.may_close.set()
        registry.close()
        registry.wait(WAIT_S)


def on_demand(id: str, unload_after_s: float | None = None) -> ModelSettings:
    return ModelSettings(id, "a/b", load="demand", unload_after_s=unload_after_s)


def released(**errors: Exception) -> Loader:
    loader = Loader(**errors)
    loader.release.set()
    return loader


def engine_of(hold: Lease) -> Closable:
    """What a hold is settled with, waited for."""
    return cast(Closable, asyncio.run(asyncio.wait_for(hold.loaded(), WAIT_S)))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def test_start_when_models_are_slow_then_it_returns_and_answers_at_once(make: Make) -> None:
    registry = make(Loader(), "a", "b")
    registry.start()
    states = registry.models()
    assert [(state.id, state.status, state.info) for state in states] == [
        ("a", "loading", None),
        ("b", "loading", None),
    ]
    assert not registry.wait(0.01)


def test_start_when_models_have_loaded_then_each_is_ready_and_none_loaded_beside_another(make: Make) -> None:
    loader = released()
    registry = make(loader, "a", "b", max_batch=7)
    registry.start()
    assert registry.wait(WAIT_S)
    assert loader.begun == ["a", "b"] and loader.most_at_once == 1 and loader.batches == [7, 7]
    assert engine_of(registry.hold("a")) is loader.engines["a"]
    assert registry.state("b").info is loader.engines["b"].info
    assert all(abs(state.created - time.time()) < 60 for state in registry.models())


def test_start_when_called_twice_then_it_refuses(make: Make) -> None:
    registry = make(Loader(), "a")
    registry.start()
    with pytest.raises(RuntimeError):
        registry.start()


def test_start_when_one_model_fails_then_its_reason_is_one_line_and_the_others_go_on(make: Make) -> None:
    loader = released(a=OSError("no weights here\nand a long explanation"), b=SetupError("the folder is empty"))
    registry = make(loader, "a", "b", "c")
    registry.start()
    assert registry.wait(WAIT_S)
    assert [(state.status, state.error) for state in registry.models()] == [
        ("failed", "OSError: no weights here"),
        ("failed", "the folder is empty"),
        ("ready", None),
    ]


def test_start_when_given_a_listener_then_it_hears_of_every_change(make: Make) -> None:
    heard: list[ModelState] = []
    registry = make(released(b=ValueError()), "a", "b", on_demand("c"))
    registry.start(heard.append)
    assert registry.wait(WAIT_S)
    registry.unload("a")
    until(lambda: len(heard) == 5)
    assert [(state.id, state.status) for state in heard] == [
        ("a", "loading"),
        ("a", "ready"),
        ("b", "loading"),
        ("b", "failed"),
        ("a", "unloaded"),
    ]
    assert heard[3].error == "ValueError"


def test_a_listener_when_it_comes_late_then_it_is_told_what_has_happened_and_what_does(make: Make) -> None:
    registry = make(released(), "a", "b")
    registry.start()
    assert registry.wait(WAIT_S)
    heard: list[ModelState] = []
    registry.listen(heard.append)
    until(lambda: len(heard) == 4)
    registry.unload("a")
    assert [(state.id, state.status) for state in heard] == [
        ("a", "loading"),
        ("a", "ready"),
        ("b", "loading"),
        ("b", "ready"),
        ("a", "unloaded"),
    ]


def test_start_when_the_listener_fails_then_the_models_load_all_the_same(make: Make) -> None:
    def listener(state: ModelState) -> None:
        raise BrokenPipeError

    registry = make(released(), "a", "b")
    registry.start(listener)
    assert registry.wait(WAIT_S)
    assert [state.status for state in registry.models()] == ["ready", "ready"]


def test_hold_when_model_is_unknown_then_the_known_ones_are_named(make: Make) -> None:
    for ask in (make(Loader(), "a", "b").hold, make(Loader(), "a", "b").state, make(Loader(), "a", "b").load):
        with pytest.raises(ModelNotFound, match=r"'c' does not exist\. Possible: a, b\.") as caught:
            ask("c")
        assert caught.value.param == "model"


@pytest.mark.parametrize("unload_after_s", [None, 60.0])
def test_hold_when_model_loads_at_start_then_try_again_later(make: Make, unload_after_s: float | None) -> None:
    registry = make(Loader(), ModelSettings("a", "a/b", unload_after_s=unload_after_s))
    registry.start()
    with pytest.raises(ModelUnavailable, match="still loading") as caught:
        registry.hold("a")
    assert caught.value.retry_after_s is not None and caught.value.retry_after_s > 0


def test_hold_when_model_failed_then_the_reason_is_told_and_no_retry_is_asked_for(make: Make) -> None:
    registry = make(released(a=RuntimeError("out of memory")), "a")
    registry.start()
    registry.wait(WAIT_S)
    with pytest.raises(ModelUnavailable, match="out of memory") as caught:
        registry.hold("a")
    assert caught.value.retry_after_s is None


def test_hold_when_models_are_on_demand_then_each_loads_when_asked_for_and_one_at_a_time(make: Make) -> None:
    loader = Loader()
    registry = make(loader, on_demand("a"), on_demand("b"), on_demand("c"))
    registry.start()
    assert [state.status for state in registry.models()] == ["unloaded"] * 3
    holds = [registry.hold(id_) for id_ in ("b", "a", "a")]
    assert [state.status for state in registry.models()] == ["loading", "loading", "unloaded"]
    loader.release.set()
    assert [engine_of(hold).info.id for hold in holds] == ["b", "a", "a"]
    assert loader.begun == ["b", "a"] and loader.most_at_once == 1


def test_hold_when_loading_on_demand_fails_then_everyone_waiting_is_told_and_load_tries_again(make: Make) -> None:
    loader = Loader(a=OSError("no space"))
    registry = make(loader, on_demand("a"))
    registry.start()
    holds = [registry.hold("a"), registry.hold("a")]
    loader.release.set()
    for hold in holds:
        with pytest.raises(ModelUnavailable, match="no space.*/api/models/a/load"):
            engine_of(hold)
    with pytest.raises(ModelUnavailable, match="no space"):
        registry.hold("a")
    loader.errors.clear()
    assert engine_of(registry.load("a")) is loader.engines["a"]
    assert registry.state("a").error is None


def test_hold_when_whoever_waited_is_gone_then_loading_goes_on_for_the_others(make: Make) -> None:
    loader = Loader()
    registry = make(loader, on_demand("a"), on_demand("b"))
    registry.start()
    gone, stays = registry.hold("a"), registry.hold("a")

    async def impatient() -> None:
        await asyncio.wait_for(gone.loaded(), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    loader.release.set()
    assert engine_of(stays) is loader.engines["a"]
    gone.release()
    gone, stays = registry.load("b"), registry.load("b")
    gone.release()
    assert engine_of(stays) is loader.engines["b"]


def test_idle_when_nobody_holds_it_then_it_is_unloaded_and_the_next_request_loads_it_again(make: Make) -> None:
    loader = released()
    registry = make(loader, on_demand("a", 0.1), on_demand("b"))
    registry.start()
    for id_ in ("a", "b"):
        hold = registry.hold(id_)
        engine_of(hold)
        hold.release()
    first = loader.engines["a"]
    until(lambda: first.closed == 1)
    assert [state.status for state in registry.models()] == ["unloaded", "ready"]
    assert registry.state("a").info is first.info
    assert engine_of(registry.hold("a")) is loader.engines["a"] is not first


def test_idle_when_it_is_held_then_the_time_begins_with_the_last_release(make: Make) -> None:
    loader = released()
    registry = make(loader, ModelSettings("a", "a/b", unload_after_s=0.1))
    registry.start()
    assert registry.wait(WAIT_S)
    first, second = registry.hold("a"), registry.hold("a")
    first.release()
    first.release()
    time.sleep(0.3)
    assert loader.engines["a"].closed == 0 and engine_of(second) is loader.engines["a"]
    second.release()
    released_at = time.monotonic()
    until(lambda: loader.engines["a"].closed == 1)
    assert time.monotonic() - released_at > 0.09


def test_idle_when_requests_race_with_the_unloading_then_each_gets_an_engine_that_is_open(make: Make) -> None:
    loader = released()
    registry = make(loader, on_demand("a", 0.001))
    registry.start()
    closed: list[int] = []
    together = threading.Barrier(3)

    def ask() -> None:
        for number in range(40):
            together.wait(WAIT_S)
            time.sleep(number % 4 * 0.0005)  # now before the unloading, now after it, now in the midst of it
            hold = registry.hold("a")
            engine = engine_of(hold)
            closed.append(engine.closed)
            hold.release()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert closed == [0] * 120
    assert len(loader.begun) > 1


def test_unload_when_it_is_in_use_then_busy_says_by_how_many_and_force_ends_them(make: Make) -> None:
    loader = released()
    registry = make(loader, on_demand("a"))
    registry.start()
    hold = registry.hold("a")
    engine_of(hold)
    with pytest.raises(ModelBusy, match="1 request or job is under way"):
        registry.unload("a")
    registry.hold("a")
    with pytest.raises(ModelBusy, match="2 requests or jobs are under way"):
        registry.unload("a")
    registry.unload("a", force=True)
    assert loader.engines["a"].closed == 1 and registry.state("a").status == "unloaded"
    again = registry.hold("a")
    engine_of(again)
    hold.release()  # of the engine that is gone: it is no use of the new one
    with pytest.raises(ModelBusy, match="1 request or job is"):
        registry.unload("a")


def test_unload_when_it_loads_then_busy_and_when_it_is_not_loaded_then_nothing(make: Make) -> None:
    loader = Loader(b=OSError("no"))
    registry = make(loader, "a", "b", on_demand("c"))
    registry.start()
    for force in (False, True):
        with pytest.raises(ModelBusy, match="'a' is loading"):
            registry.unload("a", force=force)
    registry.unload("c")
    loader.release.set()
    assert registry.wait(WAIT_S)
    registry.unload("a")
    registry.unload("a")
    registry.unload("b")
    assert [state.status for state in registry.models()] == ["unloaded", "failed", "unloaded"]


def test_unload_when_a_model_is_not_on_demand_then_only_load_brings_it_back(make: Make) -> None:
    loader = released()
    registry = make(loader, "a")
    registry.start()
    assert registry.wait(WAIT_S)
    registry.unload("a")
    with pytest.raises(ModelUnavailable, match="POST /api/models/a/load"):
        registry.hold("a")
    registry.load("a").release()
    assert registry.wait(WAIT_S)
    assert engine_of(registry.hold("a")) is loader.engines["a"]


def test_unload_when_closing_takes_time_then_nothing_else_waits_but_the_next_to_load(make: Make) -> None:
    loader = released()
    registry = make(loader, on_demand("a", 0.05), on_demand("b"), "c")
    registry.start()
    assert registry.wait(WAIT_S)
    loader.may_close.clear()
    registry.load("a").release()
    until(lambda: registry.state("a").status == "ready")
    until(lambda: registry.state("a").status == "unloaded")
    assert engine_of(registry.hold("c")) is loader.engines["c"]
    waiting = [registry.hold("a"), registry.hold("b")]
    time.sleep(0.05)
    assert loader.begun == ["c", "a"]
    loader.may_close.set()
    assert [engine_of(hold).info.id for hold in waiting] == ["a", "b"]


def test_close_when_models_are_ready_then_each_engine_is_closed_once(make: Make) -> None:
    loader = released()
    registry = make(loader, "a", "b")
    registry.start()
    registry.wait(WAIT_S)
    registry.close()
    registry.close()
    assert [engine.closed for engine in loader.engines.values()] == [1, 1]
    with pytest.raises(ModelUnavailable, match="shutting down"):
        registry.hold("a")
    with pytest.raises(ModelUnavailable, match="shutting down"):
        registry.load("a")


def test_close_when_a_model_is_still_loading_then_it_is_closed_on_arrival_and_no_other_begins(make: Make) -> None:
    loader = Loader()
    registry = make(loader, on_demand("a"), "b")
    waiting = registry.hold("a")
    registry.start()
    until(lambda: loader.begun == ["b"])
    registry.close()
    with pytest.raises(ModelUnavailable, match="shutting down"):
        engine_of(waiting)
    loader.release.set()
    until(lambda: "b" in loader.engines and loader.engines["b"].closed == 1)
    assert registry.wait(WAIT_S)
    assert loader.begun == ["b"]

"""What the registry promises: models load in the background, one at a time, and one that fails harms no other."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import ModelState, Registry
from proxy.errors import ModelNotFound, ModelUnavailable, SetupError
from proxy.settings import ModelSettings

WAIT_S = 5.0


class Closable:
    """As much of an engine as the registry touches."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Loader:
    """Loads nothing, when told to: each model waits for `release`; ids in `errors` fail."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.release = threading.Event()
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
            self.engines[settings.id] = Closable()
            return cast(Engine, self.engines[settings.id])
        finally:
            self._at_once -= 1


Make = Callable[..., Registry]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Registry, Loader]] = []

    def _make(loader: Loader, *ids: str, **options: Any) -> Registry:
        registry = Registry([ModelSettings(id_, "some/where") for id_ in ids], load=loader, **options)
        made.append((registry, loader))
        return registry

    yield _make
    for registry, loader in made:
        loader.release.set()
        registry.close()
        registry.wait(WAIT_S)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def test_start_when_models_are_slow_then_it_returns_and_answers_at_once(make: Make) -> None:
    loader = Loader()
    registry = make(loader, "a", "b")
    began = time.monotonic()
    registry.start()
    states = registry.models()
    assert time.monotonic() - began < 0.5
    assert [(state.id, state.status, state.engine) for state in states] == [
        ("a", "loading", None),
        ("b", "loading", None),
    ]
    assert not registry.wait(0.01)


def test_start_when_models_have_loaded_then_each_is_ready_and_none_loaded_beside_another(make: Make) -> None:
    loader = Loader()
    loader.release.set()
    registry = make(loader, "a", "b", max_batch=7)
    registry.start()
    assert registry.wait(WAIT_S)
    assert loader.begun == ["a", "b"] and loader.most_at_once == 1 and loader.batches == [7, 7]
    assert registry.get("a") is cast(object, loader.engines["a"])
    assert registry.get("b") is registry.models()[1].engine
    assert all(abs(state.created - time.time()) < 60 for state in registry.models())


def test_start_when_called_twice_then_it_refuses(make: Make) -> None:
    registry = make(Loader(), "a")
    registry.start()
    with pytest.raises(RuntimeError):
        registry.start()


def test_start_when_one_model_fails_then_its_reason_is_one_line_and_the_others_go_on(make: Make) -> None:
    loader = Loader(a=OSError("no weights here\nand a long explanation"), b=SetupError("the folder is empty"))
    loader.release.set()
    registry = make(loader, "a", "b", "c")
    registry.start()
    assert registry.wait(WAIT_S)
    assert [(state.status, state.error) for state in registry.models()] == [
        ("failed", "OSError: no weights here"),
        ("failed", "the folder is empty"),
        ("ready", None),
    ]


def test_start_when_given_a_listener_then_it_hears_of_every_change(make: Make) -> None:
    loader = Loader(b=ValueError())
    loader.release.set()
    heard: list[ModelState] = []
    registry = make(loader, "a", "b")
    registry.start(heard.append)
    registry.wait(WAIT_S)
    assert [(state.id, state.status) for state in heard] == [
        ("a", "loading"),
        ("a", "ready"),
        ("b", "loading"),
        ("b", "failed"),
    ]
    assert heard[-1].error == "ValueError"


def test_get_when_model_is_unknown_then_the_known_ones_are_named(make: Make) -> None:
    with pytest.raises(ModelNotFound, match=r"'c' does not exist\. Possible: a, b\.") as caught:
        make(Loader(), "a", "b").get("c")
    assert caught.value.param == "model"


def test_get_when_model_is_loading_then_try_again_later(make: Make) -> None:
    registry = make(Loader(), "a")
    registry.start()
    with pytest.raises(ModelUnavailable, match="still loading") as caught:
        registry.get("a")
    assert caught.value.retry_after_s is not None and caught.value.retry_after_s > 0


def test_get_when_model_failed_then_the_reason_is_told_and_no_retry_is_asked_for(make: Make) -> None:
    loader = Loader(a=RuntimeError("out of memory"))
    loader.release.set()
    registry = make(loader, "a")
    registry.start()
    registry.wait(WAIT_S)
    with pytest.raises(ModelUnavailable, match="out of memory") as caught:
        registry.get("a")
    assert caught.value.retry_after_s is None


def test_close_when_models_are_ready_then_each_engine_is_closed_once(make: Make) -> None:
    loader = Loader()
    loader.release.set()
    registry = make(loader, "a", "b")
    registry.start()
    registry.wait(WAIT_S)
    registry.close()
    registry.close()
    assert [engine.closed for engine in loader.engines.values()] == [1, 1]
    with pytest.raises(ModelUnavailable, match="shutting down"):
        registry.get("a")


def test_close_when_a_model_is_still_loading_then_it_is_closed_on_arrival_and_no_other_begins(make: Make) -> None:
    loader = Loader()
    registry = make(loader, "a", "b")
    registry.start()
    until(lambda: loader.begun == ["a"])
    registry.close()
    loader.release.set()
    until(lambda: "a" in loader.engines and loader.engines["a"].closed == 1)
    assert registry.wait(WAIT_S)
    assert loader.begun == ["a"]

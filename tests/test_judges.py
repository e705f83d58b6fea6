"""A judge's name means what the operator allows, and a model that judges is held no longer than it does."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from proxy.engines.base import Engine
from proxy.engines.registry import Registry
from proxy.errors import InvalidRequest, ModelUnavailable, SetupError
from proxy.judge_settings import JudgeSettings
from proxy.judges import Check, Judges, endpoint_at, judges_of_command, served_judges
from proxy.settings import Settings
from proxy.steering.judge import JudgeKind, ModelJudge
from proxy.steering.judge.endpoint import EndpointJudge
from tests.fakes import FakeEngine, fake_registry, model_settings
from tests.steering.pretend import PretendEngine

BIG = JudgeSettings("big", "http://localhost:9/v1", "large")


def never() -> None: ...


def nobody(model_id: str, check: Check) -> AbstractContextManager[Engine]:
    raise AssertionError("no model is needed")


@pytest.fixture
def judges() -> Judges:
    return Judges([BIG], ["org/pretend", "other"], nobody)


def test_opened_then_a_kind_or_an_endpoint_or_the_model_itself(judges: Judges) -> None:
    for name, kind in ((None, None), ("rules", "rules"), ("likelihood", "likelihood"), ("org/pretend", "model")):
        with judges.opened(name, PretendEngine(), never) as opened:
            assert opened == kind
    with judges.opened("big", PretendEngine(), never) as opened:
        assert isinstance(opened, EndpointJudge) and opened.name == "big"


@pytest.mark.parametrize("name", ["bigger", "http://localhost:9/v1", "large@http://localhost:9/v1", ""])
def test_check_when_the_operator_did_not_set_it_up_then_refused(name: str, judges: Judges) -> None:
    with pytest.raises(
        InvalidRequest, match="possible: rules, likelihood, reading, model, big, org/pretend, other"
    ) as caught:
        judges.check(name)
    assert caught.value.param == "judge"
    with pytest.raises(InvalidRequest, match="there is no judge"), judges.opened(name, PretendEngine(), never):
        pass


def test_opened_when_another_served_model_then_it_is_held_meanwhile() -> None:
    registry = fake_registry(FakeEngine("one"), FakeEngine("two"))
    judges = served_judges([], registry)
    try:
        with judges.opened("two", PretendEngine(), never) as judge:
            assert isinstance(judge, ModelJudge) and judge.name == "two"
            with pytest.raises(Exception, match="under way"):
                registry.unload("two")
        registry.unload("two")
    finally:
        registry.close()


def test_opened_when_the_job_is_cancelled_while_the_model_loads_then_nobody_waits() -> None:
    loading = threading.Event()

    def load(settings: object, max_batch: int) -> FakeEngine:
        loading.wait(60)
        return FakeEngine("slow")

    registry = Registry(model_settings("slow"), load=load)
    registry.start()
    judges = served_judges([], registry)

    def cancelled() -> None:
        raise ModelUnavailable("cancelled")

    try:
        with pytest.raises(ModelUnavailable, match="cancelled"), judges.opened("slow", PretendEngine(), cancelled):
            pass
    finally:
        loading.set()
        registry.close()


def test_endpoint_at_then_its_key_is_in_the_variable_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    text = "org/large@http://localhost:9/v1"
    assert endpoint_at(text) == JudgeSettings(text, "http://localhost:9/v1", "org/large")
    monkeypatch.setenv("JUDGE_API_KEY", "sk-secret")
    assert endpoint_at(text).key_env == "JUDGE_API_KEY"
    for wrong in ("large@localhost", "@http://localhost:9/v1", "large@"):
        with pytest.raises(SetupError, match="^--judge: '.*' is not MODEL@URL"):
            endpoint_at(wrong)


def test_judges_of_command_then_names_as_on_the_server_and_addresses() -> None:
    lent: list[str] = []

    @contextmanager
    def lend(model_id: str, check: Check) -> Iterator[Engine]:
        lent.append(model_id)
        yield PretendEngine()

    settings = Settings(models=model_settings("one"), judges=[BIG])

    def opened(name: str | None) -> JudgeKind | None:
        with judges_of_command(name, settings, lend).opened(name, PretendEngine(), lambda: None) as judge:
            return judge

    assert opened(None) is None and opened("rules") == "rules" and opened("org/pretend@http://x/v1") is not None
    assert isinstance(opened("large@http://localhost:9/v1"), EndpointJudge) and not lent
    assert isinstance(opened("one"), ModelJudge) and lent == ["one"]
    with pytest.raises(SetupError, match="^--judge: there is no judge 'two'; possible: .*, big, one, MODEL@URL$"):
        judges_of_command("two", settings, lend)

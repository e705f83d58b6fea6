"""The monitor keeps what is recent and forgets what is old."""

import pytest

from proxy.steering import monitor as monitoring
from proxy.steering.monitor import Monitor, ProjectionRecord, SeriesKey


def key(persona: str, model: str = "m") -> SeriesKey:
    return SeriesKey(model, persona, "silly", "v", 1, 0.9)


def reading(projection: float) -> ProjectionRecord:
    return ProjectionRecord(0.0, projection, 5, None)


def test_answers_when_too_many_then_the_latest_are_kept_and_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "KEPT_ANSWERS", 3)
    monitor = Monitor()
    for number in range(5):
        monitor.record(key("silly"), reading(number))
    [(_, series)] = monitor.series()
    assert series.count == 5 and [each.projection for each in series.readings] == [2, 3, 4]


def test_series_when_too_many_then_the_one_used_longest_ago_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "KEPT_SERIES", 2)
    monitor = Monitor()
    for persona in ("a", "b", "a", "c"):
        monitor.record(key(persona), reading(1))
    assert [found.persona for found, _ in monitor.series()] == ["c", "a"]


def test_series_when_asked_for_by_model_and_persona_then_only_those_are_told() -> None:
    monitor = Monitor()
    for model, persona in (("m", "a"), ("n", "a"), ("m", "b")):
        monitor.record(key(persona, model), reading(1))
    assert [(k.model, k.persona) for k, _ in monitor.series("m")] == [("m", "b"), ("m", "a")]
    assert [(k.model, k.persona) for k, _ in monitor.series(persona="a")] == [("n", "a"), ("m", "a")]
    assert [(k.model, k.persona) for k, _ in monitor.series("m", "a")] == [("m", "a")]

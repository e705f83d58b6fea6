"""The log as lines of JSON."""

import json
import logging
import logging.config
import sys
from pathlib import Path

import httpx
import pytest

from proxy.server import logging_as
from proxy.telemetry.logs import JsonLines, fields
from tests.fakes import FakeEngine, serving, settings_in


def line_of(record: logging.LogRecord) -> dict[str, object]:
    text = JsonLines().format(record)
    assert "\n" not in text
    line: dict[str, object] = json.loads(text)
    return line


def record(message: str, **options: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "proxy.requests", "levelname": "INFO", "msg": message, **options})


def test_a_line_when_a_record_has_fields_then_each_stands_under_its_name() -> None:
    line = line_of(record("told", created=1_700_000_000.0625, **fields(status=200, model="fake", time="forged")))
    assert line == {
        "status": 200,
        "model": "fake",
        "time": "2023-11-14T22:13:20.062Z",
        "level": "INFO",
        "logger": "proxy.requests",
        "message": "told",
    }


def test_a_line_when_something_was_raised_then_its_traceback_is_in_the_same_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = line_of(record("failed", exc_info=sys.exc_info()))
    assert "ValueError: two\nlines" in str(line["traceback"])


def test_the_log_when_json_is_set_then_a_request_has_the_fields_of_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"messages": [{"role": "user", "content": "secret"}], "persona": "none"}
    with caplog.at_level("INFO"), serving(settings_in(tmp_path), FakeEngine()) as url:
        assert httpx.post(f"{url}/v1/chat/completions", json=body, headers={"x-request-id": "mine"}).is_success
    [found] = [each for each in caplog.records if each.name == "proxy.requests"]
    line = line_of(found)
    assert "secret" not in str(line) and isinstance(line.pop("ms"), int) and line.pop("time")
    text = line.pop("message")
    assert line == {
        "request_id": "mine",
        "http_method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "fake",
        "persona": "none",
        "method": "none",
        "tokens": 3,
        "level": "INFO",
        "logger": "proxy.requests",
    }
    assert all(f"{value}" in str(text) for name, value in line.items() if name not in ("level", "logger"))


def test_the_set_up_when_a_form_is_asked_for_then_the_one_handler_writes_it() -> None:
    for form, kind in (("json", JsonLines), ("text", logging.Formatter)):
        configurator = logging.config.DictConfigurator(logging_as(form))
        name = logging_as(form)["handlers"]["stderr"]["formatter"]
        assert type(configurator.configure_formatter(configurator.config["formatters"][name])) is kind

"""Log lines as JSON, for programs that collect them: the same fields that the text has, each under its name.

Whoever logs hands the fields in as `extra=fields(...)`. Knows nothing of what is logged.
"""

import logging
import time
from typing import Any

import msgspec

_FIELDS = "fields"


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """The `extra` of a log record that has these fields."""
    return {_FIELDS: values}


class JsonLines(logging.Formatter):
    """One line of JSON for each record: when, how grave, who says it and what, then the record's fields, then its
    traceback, where there is one. A field never takes the place of those first four."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        milliseconds = f"{record.created % 1:.3f}"[1:]
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}{milliseconds}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line = {**getattr(record, _FIELDS, {}), **line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()

"""OpenAI's own JavaScript SDK against a real server."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients import node


@pytest.fixture(scope="module")
def results(url: str, node_modules: Path) -> Any:
    return json.loads(node.run("sdk.mjs", f"{url}/v1", cwd=node.JS))


def test_whole_answer(results: Any) -> None:
    assert results["whole"] == {"text": "[+0.50] You said: hello ", "personas": {"silly": 0.5}}


def test_stream_with_extra_body_then_text_report_and_usage(results: Any) -> None:
    body = results["body"]
    assert body["text"] == "[+1.00] You said: hello " and body["finish"] == "stop"
    assert body["steering"]["method"] == "activation" and body["usage"]["completion_tokens"] == 4


def test_stream_with_suffix_and_with_headers(results: Any) -> None:
    assert results["suffix"]["text"] == "[-1.50] You said: hello "
    assert results["headers"]["text"] == "[+2.00] You said: hello "


def test_stream_helper_then_the_whole_message(results: Any) -> None:
    assert results["helper"] == "[+1.00] You said: hello "


def test_calls_of_functions_when_streamed_then_put_together(results: Any) -> None:
    assert results["calls"] == [["find", '{"word": "é"}'], ["look", "{}"]]


def test_responses_then_text_report_deltas_and_calls(results: Any) -> None:
    text = "[+1.00] You said: hello "
    assert results["response"] == {"text": text, "personas": {"silly": 1.0}, "deltas": "You said: !think "}
    assert results["responseCalls"] == [["find", '{"word": "é"}'], ["look", "{}"]]
    assert results["responseBroken"]["code"] == "engine_failure"


def test_models_then_listed(results: Any) -> None:
    assert "fake:silly" in results["models"]


def test_errors_then_the_sdks_own_kinds(results: Any) -> None:
    assert results["unknownPersona"] == {
        "name": "NotFoundError",
        "status": 404,
        "code": "persona_not_found",
        "param": "persona",
    }
    assert results["range"]["name"] == "BadRequestError" and results["range"]["param"] == "coefficient"
    assert results["broken"]["code"] == "engine_failure"

"""Spans, as an exporter in memory gets them from a real server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxy.app import create_app
from proxy.errors import SetupError
from proxy.telemetry.tracing import Tracing
from tests.fakes import FakeEngine, fake_registry, running, save_vector, settings_in

pytest.importorskip("opentelemetry.sdk", reason="the extra opentelemetry is not installed")

from opentelemetry.sdk.trace import ReadableSpan  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

CHAT = "/v1/chat/completions"


class Traced:
    """A server, and the spans that it has sent."""

    def __init__(self, client: httpx.Client, tracing: Tracing, exporter: InMemorySpanExporter) -> None:
        self.client = client
        self._tracing = tracing
        self._exporter = exporter

    def spans(self) -> list[ReadableSpan]:
        """All of them; more are not sent."""
        self._tracing.close()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    save_vector(tmp_path / "vectors", "silly", "silly", "serious")
    exporter, registry = InMemorySpanExporter(), fake_registry(FakeEngine())
    tracing = Tracing("http://127.0.0.1:1", exporter)
    try:
        app = create_app(settings_in(tmp_path), registry, tracing)
        with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield Traced(client, tracing, exporter)
    finally:
        tracing.close()
        registry.close()


def test_a_span_when_answers_are_asked_for_then_it_tells_the_model_the_tokens_and_the_steering(traced: Traced) -> None:
    body = {"messages": [{"role": "user", "content": "a secret"}], "temperature": 0.5, "max_tokens": 9}
    answer = traced.client.post(CHAT, json={**body, "persona": "silly", "coefficient": 1.5}).json()
    traced.client.post(CHAT, json={**body, "stream": True})
    traced.client.get("/health")
    spans = traced.spans()
    assert [span.name for span in spans] == [f"POST {CHAT}", f"POST {CHAT}"]  # none for pieces of the stream
    told = dict(spans[0].attributes or {})
    expected = {
        "http.route": CHAT,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "persona-proxy",
        "gen_ai.request.model": "fake",
        "gen_ai.response.model": "fake",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer["usage"]["completion_tokens"],
        "persona_proxy.persona": "silly",
        "persona_proxy.coefficient": "1.5",
        "persona_proxy.method": "activation",
        "persona_proxy.relative_dose": answer["steering"]["relative_dose"],
    }
    assert {name: told.get(name) for name in expected} == expected
    streamed = dict(spans[1].attributes or {})
    assert streamed["gen_ai.response.finish_reasons"] == ("stop",)
    assert streamed["persona_proxy.method"] == "none" and "persona_proxy.relative_dose" not in streamed
    assert "secret" not in str([span.to_json() for span in spans])


def test_a_span_when_an_address_has_an_id_then_the_name_is_the_routes(traced: Traced) -> None:
    traced.client.get("/api/jobs/job-of-mine")
    [span] = traced.spans()
    assert span.name == "GET /api/jobs/{job_id}" and span.resource.attributes["service.name"] == "persona-proxy"


def test_a_span_when_the_client_sends_a_trace_then_it_is_part_of_that(traced: Traced) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    traced.client.get("/v1/models", headers={"traceparent": f"00-{trace}-{parent}-01"})
    [span] = traced.spans()
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == trace and f"{span.parent.span_id:016x}" == parent


def test_tracing_when_its_packages_are_missing_then_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SetupError, match=r"pip install 'persona-steering-proxy\[opentelemetry\]'"):
        Tracing("http://127.0.0.1:1")

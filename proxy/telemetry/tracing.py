"""Spans for OpenTelemetry, by Litestar's own support: one for each request, with what it asked of a model.

Attributes are those of the conventions for generative AI (`gen_ai.*`), and ours (`persona_proxy.*`) for steering. No
text of questions or answers is in them. Where spans go is the operator's: `otlp_endpoint` sets the place, and the SDK
reads everything else, such as headers and the share of requests, from its own variables, OTEL_*.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from litestar.middleware.base import DefineMiddleware

from proxy import __version__
from proxy.chat.summary import TurnSummary
from proxy.errors import SetupError

if TYPE_CHECKING:
    from litestar.types import Scope
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

SERVICE = "persona-proxy"
OPERATIONS = {"/v1/chat/completions": "chat", "/v1/responses": "chat", "/v1/completions": "text_completion"}
UNTOLD = ["^/health$", "^/ready$", "^/metrics$"]  # asked every few seconds
Attribute = str | int | float | Sequence[str]


class Tracing:
    """Makes the spans of one server. SetupError where the packages for it are missing."""

    def __init__(self, endpoint: str, exporter: "SpanExporter | None" = None) -> None:
        """Spans go to `endpoint`, as OTLP over HTTP, or to `exporter`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise SetupError(
                "otlp_endpoint: spans need more packages; pip install 'persona-steering-proxy[opentelemetry]'"
            ) from None
        resource = Resource.create({"service.name": SERVICE, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        place = endpoint.rstrip("/") + "/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=place)))
        self._tracer: Tracer = self._provider.get_tracer(SERVICE, __version__)

    def middleware(self) -> DefineMiddleware:
        """What makes a span of each request. Pieces of a stream have none of their own."""
        from litestar.plugins.opentelemetry import OpenTelemetryConfig

        return OpenTelemetryConfig(
            tracer=self._tracer,
            scope_span_details_extractor=_name_at_first,
            exclude=UNTOLD,
            exclude_spans=["receive", "send"],
        ).middleware

    def describe(self, method: str, route: str, facts: Mapping[str, object], turn: TurnSummary | None) -> None:
        """Name the span that is open, if one is, by its route, and add what the request asked of a model, and what came
        of it. `facts` are those of the log's line."""
        from opentelemetry.trace import get_current_span

        span = get_current_span()
        if not span.is_recording():
            return
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        if turn is not None:
            span.set_attributes(attributes_of(route, facts, turn))

    def close(self) -> None:
        """Send what is left. Blocks for some seconds at most."""
        self._provider.shutdown()


def _name_at_first(scope: "Scope") -> tuple[str, dict[str, str]]:
    """Until the route is known. Litestar would take the address, whose ids make every span's name its own."""
    return str(scope.get("method", "")), {}


def attributes_of(route: str, facts: Mapping[str, object], turn: TurnSummary) -> dict[str, Attribute]:
    """A request's attributes. What is not known is left out."""
    steered = next((answer for answer in turn.answers if answer.personas), None)
    found: dict[str, Attribute | None] = {
        "gen_ai.operation.name": OPERATIONS.get(route),
        "gen_ai.provider.name": SERVICE,
        "gen_ai.request.model": turn.model,
        "gen_ai.response.model": turn.model,
        "gen_ai.request.choice.count": len(turn.answers) if len(turn.answers) > 1 else None,
        "gen_ai.response.finish_reasons": [answer.finish_reason for answer in turn.answers] or None,
        "gen_ai.usage.input_tokens": turn.prompt_tokens,
        "gen_ai.usage.output_tokens": sum(answer.tokens for answer in turn.answers),
        "gen_ai.usage.cache_read.input_tokens": turn.cached_tokens,
        "persona_proxy.persona": str(facts["persona"]) if "persona" in facts else None,
        "persona_proxy.coefficient": str(facts["coefficient"]) if "coefficient" in facts else None,
        "persona_proxy.method": str(facts["method"]) if "method" in facts else None,
        "persona_proxy.relative_dose": None if steered is None else steered.relative_dose,
    }
    if turn.sampling is not None:
        found["gen_ai.request.max_tokens"] = turn.sampling.max_tokens
        found["gen_ai.request.temperature"] = turn.sampling.temperature
        found["gen_ai.request.top_p"] = turn.sampling.top_p
    return {name: value for name, value in found.items() if value is not None}

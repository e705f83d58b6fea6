"""The server's metrics in Prometheus' form: what is counted as requests end, and what is looked up when somebody asks.

Names and units are those of the field: base units, `_total` for counters, and vLLM's words behind our prefix. Values of
labels are bounded: models that are served, routes that exist, personas that exist. Knows nothing of HTTP or of how an
answer is made. What ends requests and what asks live on one event loop; only `rendered` runs in a thread.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.chat.summary import AnswerSummary, TurnSummary
from proxy.engines.base import UpstreamOutcome, UpstreamState
from proxy.protocol.status import ModelActivity

Outcome = Literal["ok", "refused", "overloaded", "failed", "cancelled"]
OUTCOMES = get_args(Outcome)
PREFIX = "persona_proxy_"
STATUSES = ("unloaded", "loading", "ready", "failed")
UPSTREAM_STATES, UPSTREAM_OUTCOMES = get_args(UpstreamState), get_args(UpstreamOutcome)
JOB_ENDS = ("done", "failed", "cancelled")
UNSTEERED = "none"  # as method and as persona

FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
PER_TOKEN_S = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
DOSE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1, 1.3, 2)  # in median residual norms; answers fall apart beyond 0.8


@dataclass(frozen=True, kw_only=True)
class EndedRequest:
    """`endpoint` is the route, "none" where the address led nowhere; `model` the one that was asked for, "" where none
    was. `started_s` is on time.perf_counter's clock. `turn` is there where a model was to answer."""

    endpoint: str
    model: str
    outcome: Outcome
    started_s: float
    seconds: float
    turn: TurnSummary | None


@dataclass(frozen=True, kw_only=True)
class RecentProjection:
    """Where the latest answers of a persona, or unsteered ones, lie towards a pole; `drift` from those before."""

    model: str
    persona: str
    pole: str
    mean: float
    drift: float | None


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What is looked up when somebody asks. `generated`: each model's tokens so far. `jobs`: how many wait or run, by
    kind and state."""

    models: Sequence[ModelActivity] = ()
    generated: dict[str, int] = field(default_factory=dict)
    max_batch: int = 0
    max_queue: int = 0
    jobs: dict[tuple[str, str], int] = field(default_factory=dict)
    projections: Sequence[RecentProjection] = ()


class Metrics:
    """One server's metrics, from its start on."""

    def __init__(self, job_kinds: Iterable[str] = ()) -> None:
        """`job_kinds`: which jobs there may be."""
        disable_created_metrics()  # a second series for each, which says when it began
        self._registry = CollectorRegistry()
        self._moment = _MomentCollector()
        self._registry.register(self._moment)
        ProcessCollector(registry=self._registry)
        self._personas: set[str] = set()  # that are the value of a label
        self._requests = self._counter("requests", "Requests that have ended", "endpoint", "model", "outcome")
        self._duration = self._histogram(
            "request_duration_seconds", "From a request of a model to its end", REQUEST_S, "endpoint", "model"
        )
        self._answers = self._counter("answers", "Answers that have ended", "model", "finish_reason")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts that were read", "model")
        self._hits = self._counter("prefix_cache_hits", "Tokens of prompts that had been read before", "model")
        self._first = self._histogram(
            "time_to_first_token_seconds", "From a request to an answer's first token", FIRST_TOKEN_S, "model"
        )
        self._per_token = self._histogram(
            "time_per_output_token_seconds", "Between two tokens, the mean of an answer", PER_TOKEN_S, "model"
        )
        self._steered = self._counter(
            "steered_answers", "Answers, once for each persona that they were steered to", "model", "method", "persona"
        )
        self._dose = self._histogram(
            "relative_dose", "What was added over the median residual norm, by answer", DOSE, "model", "persona"
        )
        self._beyond = self._counter(
            "beyond_measured_range", "Answers steered beyond what they were measured to bear", "model", "persona"
        )
        self._jobs = self._counter("jobs_ended", "Jobs that have ended", "kind", "state")
        for kind in job_kinds:
            for state in JOB_ENDS:
                self._jobs.labels(kind, state)
        self._by_persona: tuple[Counter | Histogram, ...] = (self._steered, self._dose, self._beyond)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, meaning, labels, buckets=buckets, registry=self._registry)

    def note(self, request: EndedRequest) -> None:
        """Count a request that has ended, with its answers."""
        if request.model:
            for outcome in OUTCOMES:  # with those that have not been: the first failure is a rise then
                self._requests.labels(request.endpoint, request.model, outcome)
            self._duration.labels(request.endpoint, request.model).observe(request.seconds)
        self._requests.labels(request.endpoint, request.model, request.outcome).inc()
        if request.turn is not None:
            self._prompt.labels(request.turn.model).inc(request.turn.prompt_tokens)
            self._hits.labels(request.turn.model).inc(request.turn.cached_tokens)
            for answer in request.turn.answers:
                self._note_answer(request.turn.model, answer, request.started_s)

    def _note_answer(self, model: str, answer: AnswerSummary, started_s: float) -> None:
        self._answers.labels(model, answer.finish_reason).inc()
        if answer.first_token_s is not None:
            self._first.labels(model).observe(max(answer.first_token_s - started_s, 0))
        if answer.seconds_per_token is not None:
            self._per_token.labels(model).observe(answer.seconds_per_token)
        personas = list(answer.personas) if answer.method != UNSTEERED else []
        for persona in personas or [UNSTEERED]:
            self._personas.add(persona)
            self._steered.labels(model, answer.method, persona).inc()
            if answer.relative_dose > 0:
                self._dose.labels(model, persona).observe(answer.relative_dose)
                self._beyond.labels(model, persona).inc(answer.beyond_measured_range)

    def note_job(self, kind: str, state: str) -> None:
        """Count a job that has ended."""
        self._jobs.labels(kind, state).inc()

    def show(self, moment: Moment, personas: Collection[str]) -> None:
        """Have the next rendering tell this moment, and nothing more of personas that are gone."""
        for gone in self._personas - {*personas, UNSTEERED}:
            self._personas.discard(gone)
            for metric in self._by_persona:
                metric.remove_by_labels({"persona": gone})
        self._moment.moment = moment

    def rendered(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the form that a scraper's Accept header asks for, and that form's media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _MomentCollector(Collector):
    """The last moment that was shown, as metrics."""

    def __init__(self) -> None:
        self.moment = Moment()

    def collect(self) -> Iterable[Metric]:
        now = self.moment
        yield _gauge("build_info", "The server's version, in a label", ["version"], [((__version__,), 1)])
        yield _gauge("max_batch", "Answers that a model makes at once", [], [((), now.max_batch)])
        yield _gauge("max_queue", "Answers that may wait for a model", [], [((), now.max_queue)])
        yield from _of_models(now.models)
        yield from _of_upstreams(now.models)
        tokens = CounterMetricFamily(PREFIX + "generation_tokens", "Tokens generated", labels=["model"])
        for model, count in now.generated.items():
            tokens.add_metric([model], count)
        yield tokens
        yield _gauge("jobs", "Jobs that wait or run", ["kind", "state"], now.jobs.items())
        labels = ["model", "persona", "pole"]
        means = (((each.model, each.persona, each.pole), each.mean) for each in now.projections)
        yield _gauge("projection", "Mean of the latest answers: 0 neutral, 1 the pole's own", labels, means)
        drifts = (((e.model, e.persona, e.pole), e.drift) for e in now.projections if e.drift is not None)
        yield _gauge("projection_drift", "The latest answers' mean less that of those before", labels, drifts)


def _of_models(models: Sequence[ModelActivity]) -> Iterator[Metric]:
    by_model: tuple[tuple[str, str, Callable[[ModelActivity], int | None]], ...] = (
        ("num_requests_running", "Answers that have a token", lambda model: model.running),
        ("num_requests_waiting", "Answers that wait, or whose prompt is read", lambda model: model.waiting),
        ("model_weights_bytes", "Memory of the loaded weights", lambda model: model.weights_bytes),
        ("prefix_cache_bytes", "Memory of what is kept of prompts", lambda model: model.cached_bytes),
    )
    for name, meaning, of in by_model:
        told = (((model.id,), value) for model in models if (value := of(model)) is not None)
        yield _gauge(name, meaning, ["model"], told)
    states = (((model.id, status), int(model.status == status)) for model in models for status in STATUSES)
    yield _gauge("model_status", "1 for the state that the model is in", ["model", "status"], states)


def _of_upstreams(models: Sequence[ModelActivity]) -> Iterator[Metric]:
    """Of the servers that run models."""
    all_ = [(model.id, upstream) for model in models for upstream in model.upstreams or ()]
    labels = ["model", "upstream"]
    running = (((model, each.url), each.running) for model, each in all_)
    yield _gauge("upstream_requests_running", "Requests that a model's server has now", labels, running)
    states = (((model, each.url, state), int(each.state == state)) for model, each in all_ for state in UPSTREAM_STATES)
    yield _gauge("upstream_status", "1 for the state that a model's server is in", [*labels, "status"], states)
    ended = CounterMetricFamily(
        PREFIX + "upstream_requests", "Requests to a model's server that have ended", labels=[*labels, "outcome"]
    )
    for model, each in all_:
        for outcome in UPSTREAM_OUTCOMES:
            ended.add_metric([model, each.url, outcome], each.ended.get(outcome, 0))
    yield ended


def _gauge(
    name: str, meaning: str, labels: Sequence[str], samples: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family

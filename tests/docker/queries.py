"""What queries of Prometheus name, and what metrics there are."""

from collections.abc import Iterator
from typing import Any

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

from proxy.chat.summary import AnswerSummary, TurnSummary
from proxy.protocol.status import ModelActivity, UpstreamActivity
from proxy.telemetry.metrics import EndedRequest, Metrics, Moment, RecentProjection

SCRAPED = {"instance", "job"}  # labels that Prometheus adds to everything
ITS_OWN = {"up": SCRAPED}  # metrics that it makes itself


def known() -> dict[str, set[str]]:
    """Every metric of a server where everything has happened once, with its labels."""
    metrics = Metrics(["extraction"])
    answer = AnswerSummary(
        finish_reason="stop",
        tokens=9,
        first_token_s=1.0,
        last_token_s=2.0,
        method="activation",
        personas={"silly": 1.0},
        relative_dose=0.4,
        beyond_measured_range=True,
    )
    turn = TurnSummary(model="m", sampling=None, prompt_tokens=9, cached_tokens=3, answers=[answer])
    metrics.note(EndedRequest(endpoint="/v1/x", model="m", outcome="ok", started_s=0.5, seconds=2, turn=turn))
    model = ModelActivity(
        id="m",
        status="ready",
        weights_bytes=1,
        cached_bytes=1,
        running=1,
        waiting=1,
        jobs=0,
        tokens_per_second=1.0,
        upstreams=[UpstreamActivity(url="u", state="up", problem=None, running=1, ended={"ok": 1})],
    )
    projection = RecentProjection(model="m", persona="silly", pole="silly", mean=0.5, drift=0.1)
    moment = Moment(models=[model], generated={"m": 9}, jobs={("extraction", "running"): 1}, projections=[projection])
    metrics.show(moment, ["silly"])
    text = metrics.rendered("")[0].decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return ITS_OWN | {sample.name: {*sample.labels, *SCRAPED} for sample in samples}


def wrong(query: str, metrics: dict[str, set[str]]) -> list[str]:
    """What a query names that there is not. Raises where it is no PromQL."""
    names: list[str] = []
    labels: list[str] = []
    for node in _nodes(promql_parser.parse(query)):
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name is not None, "a query names its metric outside of braces"
            names.append(node.name)
            asked = {matcher.name for matcher in node.matchers.matchers}
            labels += sorted(asked - metrics.get(node.name, asked))
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            labels += _unknown(node.modifier.labels, node.expr, metrics)
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None and node.modifier.matching:
            labels += _unknown(node.modifier.matching.labels, node, metrics)
    return [name for name in names if name not in metrics] + labels


def _unknown(labels: list[str], below: Any, metrics: dict[str, set[str]]) -> list[str]:
    """Of the labels that results are grouped or matched by, those that not every metric below has."""
    selectors = [node for node in _nodes(below) if isinstance(node, promql_parser.VectorSelector)]
    return [label for label in labels if any(label not in metrics.get(each.name or "", {label}) for each in selectors)]


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if hasattr(node, name):
            yield from _nodes(getattr(node, name))
    for argument in getattr(node, "args", ()):
        yield from _nodes(argument)

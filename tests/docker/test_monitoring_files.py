"""The dashboard and the alerts name what there is."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.docker.queries import known, wrong
from tests.docs.blocks import ROOT

DOCKER = ROOT / "docker"
BOARD: dict[str, Any] = json.loads((DOCKER / "grafana-dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RULES = [
    rule for group in yaml.safe_load((DOCKER / "alerts.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
METRICS = known()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_then_its_queries_name_metrics_and_labels_that_there_are(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert wrong(target["expr"].replace("$__rate_interval", "5m"), METRICS) == []


def test_the_dashboard_then_its_choices_are_of_metrics_that_there_are_and_no_panels_overlap() -> None:
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            query, _, label = variable["definition"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
            assert wrong(query, METRICS) == [] and label in METRICS[query.partition("{")[0]]
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_dashboard_then_every_metric_of_ours_is_on_it() -> None:
    queries = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    ours = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in METRICS}
    missing = {name for name in ours if name.startswith("persona_proxy_") and name not in queries}
    assert missing == {"persona_proxy_build_info"}  # which is what the choices are made of


def test_the_manual_then_it_has_every_metric_of_ours() -> None:
    page = (ROOT / "docs" / "guide" / "operations.md").read_text("utf-8")
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in METRICS if name.startswith("persona_proxy_")}
    assert [name for name in sorted(ours) if f"`{name.removeprefix('persona_proxy_')}`" not in page] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_then_it_names_metrics_and_labels_that_there_are_and_the_manual_has_it(rule: dict[str, Any]) -> None:
    assert wrong(rule["expr"], METRICS) == []
    assert rule["labels"]["severity"] in ("critical", "warning") and rule["annotations"]["summary"]
    assert f"`{rule['alert']}`" in (ROOT / "docs" / "guide" / "operations.md").read_text("utf-8")


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, of Debian's package prometheus, is not installed"
)
def test_the_alerts_when_prometheus_tries_them_then_each_goes_off_as_it_should() -> None:
    tests = ROOT / "tests" / "docker" / "alerts_test.yml"
    tried = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, timeout=60)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    named = {
        each["alertname"]
        for test in yaml.safe_load(tests.read_text("utf-8"))["tests"]
        for each in test["alert_rule_test"]
    }
    assert named == {rule["alert"] for rule in RULES}


def test_a_query_when_it_names_what_there_is_not_then_that_is_told() -> None:
    assert wrong("rate(persona_proxy_requests[5m])", METRICS) == ["persona_proxy_requests"]
    assert wrong('sum by (pole) (persona_proxy_jobs{model="m"})', METRICS) == ["pole", "model"]
    with pytest.raises(ValueError):
        wrong("rate(", METRICS)

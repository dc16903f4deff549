"""The recording rules for dashboards: over metrics that exist, and named by practice."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from clew.alerts.export.dashboards import dashboard_groups
from clew.alerts.export.rule_file import RecordingRule
from clew.catalog.series import CLOSED_LABELS, METRICS
from support.fix_prometheus import program

DEPLOY = Path(__file__).parents[4] / "deploy" / "prometheus"
RULES = [rule for group in dashboard_groups() for rule in group.rules if isinstance(rule, RecordingRule)]
SERIES = re.compile(r"(?<![:\w])((?:clew|gen_ai)_\w+)(?:\{([^}]*)\})?")
WANTED = (
    "service:clew_requests:rate5m",
    "service:clew_requests_errors:ratio_rate5m",
    *(f"service:clew_request_duration_seconds:p{q}_5m" for q in (50, 95, 99)),
    *(f"service_stage:clew_stage_duration_seconds:p{q}_5m" for q in (50, 95, 99)),
    "service_line_model:clew_cost_usd:increase1h",
    "service:clew_cache_hits:ratio_rate5m",
    "service:clew_unsupported_claims:ratio_rate1h",
    "service_model:clew_llm_tokens_output:rate5m",
)


def family(series: str) -> str:
    """Name the metric that a series belongs to."""
    whole = re.sub(r"_(bucket|sum|count)$", "", series)
    return whole if whole in METRICS else series


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.record)
def test_a_rule_asks_for_what_the_catalogue_declares(rule: RecordingRule) -> None:
    """Its series, the labels that it keeps and those that it selects by are those of the metric."""
    kept = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", rule.expr) for label in labels.split(",")}
    found = SERIES.findall(rule.expr)

    assert found
    for series, selectors in found:
        metric = METRICS[family(series)]
        assert kept - {"le"} <= set(metric.labels)
        assert series.endswith(("_bucket", "_sum", "_count")) == (metric.type == "histogram")
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selectors):
            known = {str(edge) for edge in metric.buckets} if label == "le" else set(CLOSED_LABELS[label])
            assert set(values.split("|")) <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.record)
def test_a_rule_is_named_by_the_labels_that_are_left(rule: RecordingRule) -> None:
    """``level:metric:operation``, as Prometheus' own practice has it."""
    (level, _, _) = rule.record.split(":")
    kept = [label.strip() for label in re.findall(r"by \(([^)]*)\)", rule.expr)[0].split(",")]

    assert level == "_".join(label for label in kept if label != "le")


def test_dashboards_find_what_they_ask_for() -> None:
    """Rates, ratios, quantiles, money and tokens are computed once, here."""
    assert set(WANTED) <= {rule.record for rule in RULES}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["check config prometheus.yml", "test rules dashboards.test.yml"])
def test_prometheus_accepts_the_file(arguments: str) -> None:
    """Its own tool says so; of the rules it also says what they come to."""
    *command, file = arguments.split()
    checked = subprocess.run(
        [program("promtool", "prometheus"), *command, str(DEPLOY / file)], capture_output=True, check=False, text=True
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_each_rule_comes_to_is_tested() -> None:
    """A new rule needs a line in the tests of the rules."""
    tests: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "dashboards.test.yml").read_text("utf-8"))["tests"]
    asked = " ".join(one["expr"] for test in tests for one in test["promql_expr_test"])

    assert {rule.record for rule in RULES} == set(re.findall(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", asked))

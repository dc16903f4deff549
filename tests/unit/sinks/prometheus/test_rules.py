"""What we give Prometheus to read: rules over metrics that exist, and a configuration that it accepts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from clew.catalog.series import CLOSED_LABELS, METRICS
from support.fix_prometheus import program

DEPLOY = Path(__file__).parents[4] / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "clew.rules.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["record"])
def test_a_rule_asks_for_what_the_catalogue_declares(rule: dict[str, Any]) -> None:
    """Its series, the labels that it keeps and those that it selects by are those of the metric."""
    kept = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(",")}
    found = SERIES.findall(rule["expr"])

    assert found
    for series, selectors in found:
        metric = METRICS[family(series)]
        assert kept - {"le"} <= set(metric.labels)
        assert series.endswith(("_bucket", "_sum", "_count")) == (metric.type == "histogram")
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selectors):
            known = {str(edge) for edge in metric.buckets} if label == "le" else set(CLOSED_LABELS[label])
            assert set(values.split("|")) <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["record"])
def test_a_rule_is_named_by_the_labels_that_are_left(rule: dict[str, Any]) -> None:
    """``level:metric:operation``, as Prometheus' own practice has it."""
    (level, _, _) = rule["record"].split(":")
    kept = [label.strip() for label in re.findall(r"by \(([^)]*)\)", rule["expr"])[0].split(",")]

    assert level == "_".join(label for label in kept if label != "le")


def test_dashboards_find_what_they_ask_for() -> None:
    """Rates, ratios, quantiles, money and tokens are computed once, here."""
    assert set(WANTED) <= {rule["record"] for rule in RULES}


@pytest.mark.parametrize(
    "told",
    ["check rules clew.rules.yml", "check config prometheus.yml", "test rules clew.rules.test.yml"],
)
def test_prometheus_accepts_the_file(told: str) -> None:
    """Its own tool says so; of the rules it also says what they come to."""
    *what, file = told.split()
    command = [program("promtool", "prometheus"), *what, str(DEPLOY / file)]

    checked = subprocess.run(command, capture_output=True, check=False, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_each_rule_comes_to_is_tested() -> None:
    """A new rule needs a line in the tests of the rules."""
    tests: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "clew.rules.test.yml").read_text("utf-8"))["tests"]
    asked = " ".join(one["expr"] for test in tests for one in test["promql_expr_test"])

    assert {rule["record"] for rule in RULES} == set(re.findall(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", asked))

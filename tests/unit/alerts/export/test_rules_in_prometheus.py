"""What the exported rules come to: promtool evaluates them, as Prometheus would."""

from __future__ import annotations

import subprocess
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from clew.alerts.export.prometheus import export_prometheus
from clew.alerts.rules import RuleSet
from clew.alerts.rules_file import default_rules, parse_rules
from clew.alerts.statistics import corrected_share, wilson
from clew.alerts.window import MinuteCounts
from support.fix_prometheus import program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HEARTBEAT = {"series": "clew_agent_heartbeat_timestamp_seconds", "values": "0+60x2000"}


def rules_of(*names: str, text: str = "") -> RuleSet:
    """Return some of the default rules, changed by *text*."""
    rules = parse_rules(text, source="test", base=default_rules())
    return RuleSet({name: rules.rules[name] for name in names})


def promtool(directory: Path, rules: RuleSet, tests: list[dict[str, Any]], interval: str = "1m") -> None:
    """Export rules and evaluate tests of them."""
    for name, text in export_prometheus(rules).files.items():
        (directory / name).write_text(text)
    file = {"rule_files": ["clew-rules.yml"], "evaluation_interval": interval, "tests": tests}
    (directory / "own.test.yml").write_text(yaml.safe_dump(file, width=1_000_000))
    checked = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", "own.test.yml"],
        capture_output=True,
        check=False,
        cwd=directory,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """Write an input series."""
    return {
        "series": name + "{" + ",".join(f'{label}="{text}"' for label, text in labels.items()) + "}",
        "values": values,
    }


def requests(service: str, ok: str, error: str) -> list[dict[str, str]]:
    """Write the requests of a service."""
    return [
        series("clew_requests_total", ok, service=service, status="ok"),
        series("clew_requests_total", error, service=service, status="error"),
    ]


def firing(rule: str, service: str, minute: int, number: int) -> dict[str, Any]:
    """Expect that many alerts (0 or 1) of a rule and a service, whatever their severity."""
    selected = f'ALERTS{{rule="{rule}",service="{service}",alertstate="firing"}}'
    return {
        "expr": f"count(count by (service) ({selected})) or vector(0)",
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": "{}", "value": number}],
    }


def recorded(record: str, rule: str, minute: int, value: float, factor: int = 1) -> dict[str, Any]:
    """Expect the value of a recorded series, rounded to a fraction."""
    return {
        "expr": f'round(sum({record}{{rule="{rule}"}}) * {factor})',
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": "{}", "value": round(value * factor)}],
    }


def test_what_is_usual_raises_nothing_and_a_fault_is_found(tmp_path: Path) -> None:
    """1 of 4 at night, 2 % and 4 % at ten a minute, and 77 % cache misses are silent; 25 % is found within ten minutes."""
    tests = [
        {
            "interval": "1m",
            "input_series": [
                HEARTBEAT,
                *requests("night", "0x50 1x10 2x10 3x90", "0x65 1x90"),
                *requests("two", "0+9.8x150", "0+0.2x150"),
                *requests("four", "0+9.6x150", "0+0.4x150"),
                *requests("fault", "0+9.8x60 595.5+7.5x60 1046+9.8x60", "0+0.2x60 14.5+2.5x60 162+0.2x60"),
                series("clew_cache_requests_total", "0+2.3x150", service="cache", cache_hit="true"),
                series("clew_cache_requests_total", "0+7.7x150", service="cache", cache_hit="false"),
            ],
            "promql_expr_test": [
                *(firing("error_rate", "night", minute, 0) for minute in (66, 70, 100)),
                *(firing("error_rate", "two", minute, 0) for minute in (5, 60, 150)),
                *(firing("error_rate", "four", minute, 0) for minute in (5, 60, 150)),
                *(firing("cache_miss", "cache", minute, 0) for minute in (10, 60, 150)),
                firing("error_rate", "fault", 60, 0),
                firing("error_rate", "fault", 70, 1),
                firing("error_rate", "fault", 120, 1),
                firing("error_rate", "fault", 130, 1),  # well for ten minutes is not yet over
                firing("error_rate", "fault", 145, 0),
            ],
        }
    ]

    promtool(tmp_path, rules_of("error_rate", "cache_miss"), tests)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counts_and_bounds_are_those_of_the_engine(tmp_path: Path, seed: int) -> None:
    """Of any traffic, also with failures that begin in mid-air, promtool's window, counts and bound are the engine's."""
    random = Random(seed)
    begins = random.randrange(10, 30)
    counts, judged = MinuteCounts(), MinuteCounts()
    ok, error, answers, issues = [0], [0], [0], [0]
    for minute in range(1, 121):
        n = random.choice((0, 1, 3, 12)) + random.randrange(4)
        bad = sum(random.random() < 0.2 for _ in range(n)) if minute >= begins else 0
        counts.add(minute, n, bad)
        ok.append(ok[-1] + n - bad)
        error.append(error[-1] + bad)
        n, bad = random.randrange(3), 0
        bad = sum(random.random() < 0.3 for _ in range(n))
        judged.add(minute, n, bad)
        answers.append(answers[-1] + n)
        issues.append(issues[-1] + bad)
    text = "rules: {unsupported_answers: {calibration: {sensitivity: 90 %, specificity: 92 %, positives: 80, negatives: 200}}}"
    rules = rules_of("error_rate", "unsupported_answers", text=text)
    judge = rules.rules["unsupported_answers"].calibration
    assert judge is not None

    expected: list[dict[str, Any]] = []
    for minute in range(65, 121, 7):
        window = next(
            (found for length in (5, 10, 30) if (found := counts.fixed(minute, length)).n >= 50),
            counts.fixed(minute, 60),
        )
        answered = next(
            (found for length in (15, 30, 90) if (found := judged.fixed(minute, length)).n >= 20),
            judged.fixed(minute, 180),
        )
        of_answers = corrected_share(answered.bad, answered.n, judge)
        expected += [
            recorded("clew_alert:units:adaptive", "error_rate", minute, window.n),
            recorded("clew_alert:bad:adaptive", "error_rate", minute, window.bad),
            recorded("clew_alert:share:low", "error_rate", minute, wilson(window.bad, window.n).low, 10**9),
            recorded("clew_alert:bad:adaptive", "unsupported_answers", minute, answered.bad),
            recorded("clew_alert:share:adaptive", "unsupported_answers", minute, of_answers.value, 10**9),
            recorded("clew_alert:share:low", "unsupported_answers", minute, of_answers.low, 10**9),
        ]
    late = " ".join("_" if number == 0 else str(number) for number in error)  # no series before the first failure
    assert late.startswith("_")
    inputs = [
        HEARTBEAT,
        *requests("rag", " ".join(map(str, ok)), late),
        series("clew_answers_total", " ".join(map(str, answers)), service="rag", quality_tier="good"),
        series("clew_issues_total", " ".join(map(str, issues)), service="rag", issue="unsupported_claim"),
    ]

    promtool(tmp_path, rules, [{"interval": "1m", "input_series": inputs, "promql_expr_test": expected}])


def test_counters_that_begin_begin_anew_and_have_a_past(tmp_path: Path) -> None:
    """First failures count, a restart is no fault, and what was counted before Prometheus came is the past."""
    first = [
        HEARTBEAT,
        *requests("new", "0+10x60", "_x30 12x30"),
        *requests("restart", "900+9.8x30 0+9.8x30", "400+0.2x30 0+0.2x30"),
    ]
    past = [
        {"series": HEARTBEAT["series"], "values": "_x30 0+60x30"},
        *requests("old", "_x30 5000+9.8x30", "_x30 5000+0.2x30"),
    ]
    bad = {"expr": 'clew_alert:bad:adaptive{service="new"}', "eval_time": "31m"}
    labels = 'clew_alert:bad:adaptive{rule="error_rate",service="new",window="5m"}'
    tests = [
        {
            "interval": "1m",
            "input_series": first,
            "promql_expr_test": [
                {**bad, "exp_samples": [{"labels": labels, "value": 12}]},
                firing("error_rate", "new", 31, 1),
                *(firing("error_rate", "restart", minute, 0) for minute in (31, 33, 36, 45)),
            ],
        },
        {
            "interval": "1m",
            "input_series": past,
            "promql_expr_test": [firing("error_rate", "old", minute, 0) for minute in (31, 33, 36, 45)],
        },
    ]

    promtool(tmp_path, rules_of("error_rate"), tests)


def test_an_alert_names_its_counts_and_a_command_whatever_the_service_is_called(tmp_path: Path) -> None:
    """A name with quotes and braces finds its own counts, and ends no quotation in the command."""
    name = r"a'b\"; rm -rf {{ . }} \\ |c"
    inputs = [
        HEARTBEAT,
        {"series": f'clew_requests_total{{service="{name}",status="ok"}}', "values": "0+9x30"},
        {"series": f'clew_requests_total{{service="{name}",status="error"}}', "values": "0+1x30"},
    ]
    service = "a'b\"; rm -rf {{ . }} \\ |c"
    labels = {"rule": "error_rate", "service": service, "severity": "warning", "owner": "{{ us }}"}
    annotations = {
        "title": "error rate",
        "summary": f"{service} error rate 10% (5/50 requests) > 1 %",
        "value": "0.1",
        "n": "50",
        "bad": "5",
        "low": f"{wilson(5, 50).low:.4f}",
        "threshold": "0.01",
        "action": "Say {{ this }}",
        "command": "clew errors 'service:\"ab rm -rf  .   c\"' --since 1h",
        "runbook_url": "https://runbooks.example/{{x}}",
    }
    text = """
rules:
  error_rate: {threshold: 1 %, owner: "{{ us }}", action: "Say {{ this }}", runbook: "https://runbooks.example/{{x}}"}
"""
    alerts = [{"exp_labels": labels, "exp_annotations": annotations}]
    checks = [{"eval_time": "20m", "alertname": "ClewErrorRate", "exp_alerts": alerts}]

    promtool(
        tmp_path,
        rules_of("error_rate", text=text),
        [{"interval": "1m", "input_series": inputs, "alert_rule_test": checks}],
    )


def test_judged_answers_are_counted_where_there_are_any(tmp_path: Path) -> None:
    """By answers and issues, else by scores, else by claims; never by two at once."""
    claims = [
        series("clew_judged_claims_total", "0+4x60", service="claims"),
        series("clew_unsupported_claims_total", "0+2x60", service="claims"),
    ]
    scores = [
        series("clew_score_count", "0+4x60", service="scores", metric_name="faithfulness"),
        series("clew_score_bucket", "0+2x60", service="scores", metric_name="faithfulness", le="0.5"),
        series("clew_judged_claims_total", "0+40x60", service="scores"),
    ]
    both = [
        series("clew_answers_total", "0+4x60", service="answers", quality_tier="t"),
        series("clew_issues_total", "0+2x60", service="answers", issue="unsupported_claim"),
        series("clew_score_count", "0+40x60", service="answers", metric_name="faithfulness"),
    ]

    def units(service: str) -> dict[str, Any]:
        labels = f'{{rule="unsupported_answers",service="{service}",window="15m"}}'
        samples = [{"labels": f"clew_alert:units:adaptive{labels}", "value": 60}]
        return {"expr": f'clew_alert:units:adaptive{{service="{service}"}}', "eval_time": "40m", "exp_samples": samples}

    tests = [
        {
            "interval": "1m",
            "input_series": [HEARTBEAT, *claims, *scores, *both],
            "promql_expr_test": [
                *(units(service) for service in ("claims", "scores", "answers")),
                *(firing("unsupported_answers", service, 40, 1) for service in ("claims", "scores", "answers")),
            ],
        }
    ]

    promtool(tmp_path, rules_of("unsupported_answers"), tests)


def test_calls_to_models_are_counted_by_model(tmp_path: Path) -> None:
    """An outage is of one model; refused calls are of a service, from two metrics."""

    def calls(model: str, error: str, values: str) -> dict[str, str]:
        return series(
            "gen_ai_client_operation_duration_seconds_count",
            values,
            service_name="rag",
            gen_ai_request_model=model,
            error_type=error,
        )

    inputs = [
        HEARTBEAT,
        calls("broken", "", "0+2x40"),
        calls("broken", "TimeoutError", "0+8x40"),
        calls("well", "", "0+10x40"),
        series("clew_errors_total", "0+3x40", service="rag", stage="generation", error_type="openai.RateLimitError"),
        series("clew_errors_total", "0+3x40", service="rag", stage="generation", error_type="ValueError"),
    ]
    outage = 'ALERTS{rule="provider_outage",alertstate="firing"}'
    tests = [
        {
            "interval": "1m",
            "input_series": inputs,
            "promql_expr_test": [
                {"expr": f"count by (model) ({outage})", "eval_time": "20m", "exp_samples": [{"labels": '{model="broken"}', "value": 1}]},
                firing("rate_limit", "rag", 20, 1),
                recorded("clew_alert:bad:adaptive", "rate_limit", 20, 15),
                recorded("clew_alert:units:adaptive", "rate_limit", 20, 75),
            ],
        }
    ]  # fmt: skip

    promtool(tmp_path, rules_of("provider_outage", "rate_limit"), tests)


def test_the_pipeline_is_watched(tmp_path: Path) -> None:
    """Lag, dead letters, a breaker, a store that fills, and agents that are silent raise alerts; a heartbeat always does."""
    heartbeat = "rules: {heartbeat: {signal: heartbeat, severity: info}}"
    names = ("pipeline_lag", "dead_letters", "breaker_open", "store_full", "heartbeat")
    broken = [
        {"series": HEARTBEAT["series"], "values": "0+60x20 1200x20"},
        series("clew_agent_lag_seconds", "0x5 300x35", sink="postgres"),
        series("clew_agent_events_total", "0x5 2x35", sink="postgres", outcome="quarantined"),
        series("clew_agent_breaker_state", "0x5 1x35", sink="postgres", state="open"),
        {"series": "clew_store_days_until_full", "values": "30x5 2x35"},
    ]
    tests: list[dict[str, Any]] = []
    for inputs, minute, fires in (
        (broken, 4, {"heartbeat"}),
        (broken, 15, {*names}),
        (broken, 24, {*names, "agent_silent"}),
        ([], 5, {"heartbeat", "agent_silent"}),
    ):
        samples = [{"labels": f'{{rule="{rule}"}}', "value": 1} for rule in sorted(fires)]
        expr = 'count by (rule) (count by (rule, sink) (ALERTS{alertstate="firing"}))'
        check = {"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}
        tests.append({"interval": "1m", "input_series": inputs, "promql_expr_test": [check]})

    promtool(tmp_path, rules_of(*names, text=heartbeat), tests)


def test_what_is_usual_is_known_from_the_days_before(tmp_path: Path) -> None:
    """Traffic that stays away, an hour that costs too much, and documents that stop."""
    day = 144  # samples, one each ten minutes
    inputs = [
        series("clew_requests_total", f"0+100x{8 * day} {100 * 8 * day}x{day}", service="rag", status="ok"),
        series("clew_requests_total", f"0+1x{9 * day}", service="thin", status="ok"),
        series("clew_cost_usd_total", f"0+0.2x{8 * day} {0.2 * 8 * day}+2x{day}", service="rag"),
        series("clew_documents_total", f"0+1x{7 * day} {7 * day}x{2 * day}", service="rag"),
        series("clew_documents_total", f"0x{6 * day} 1x{3 * day}", service="once"),
    ]

    def check(rule: str, hours: int, number: int) -> dict[str, Any]:
        expr = f'count(ALERTS{{rule="{rule}",alertstate="firing"}}) or vector(0)'
        return {"expr": expr, "eval_time": f"{hours}h", "exp_samples": [{"labels": "{}", "value": number}]}

    days = 24
    checks = [
        check("no_data", 8 * days, 0),
        check("no_data", 8 * days + 1, 1),
        check("cost_per_hour", 8 * days, 0),
        check("cost_per_hour", 8 * days + 2, 1),
        check("ingest_stale", 7 * days + 30, 0),
        check("ingest_stale", 7 * days + 38, 1),
    ]
    rules = rules_of("no_data", "cost_per_hour", "ingest_stale")

    promtool(tmp_path, rules, [{"interval": "10m", "input_series": inputs, "promql_expr_test": checks}], "10m")


def test_a_budget_that_burns_is_found(tmp_path: Path) -> None:
    """Twenty times as fast as promised, over an hour and five minutes; a tenth of the promise is silent."""
    text = "rules: {slo: {signal: slo_burn, objective: 99.5 %}}"
    inputs = [HEARTBEAT, *requests("bad", "0+90x100", "0+10x100"), *requests("good", "0+99.95x100", "0+0.05x100")]
    checks = [firing("slo", "bad", 90, 1), firing("slo", "good", 90, 0)]

    promtool(
        tmp_path, rules_of("slo", text=text), [{"interval": "1m", "input_series": inputs, "promql_expr_test": checks}]
    )


def test_the_cases_that_are_exported_hold(tmp_path: Path) -> None:
    """The test file beside the rules passes, with other thresholds and services too."""
    text = """
rules:
  error_rate: {overrides: [{service: batch, threshold: 30 %}, {service: shop, min_units: 20, window: 10m, max_window: 20m}]}
"""
    for name, content in export_prometheus(rules_of("error_rate", "latency", "cache_miss", text=text)).files.items():
        (tmp_path / name).write_text(content)

    command = [program("promtool", "prometheus"), "test", "rules", "clew-rules.test.yml"]
    checked = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    cases = yaml.safe_load((tmp_path / "clew-rules.test.yml").read_text())["tests"]
    assert len(cases) == 2 + 4 + 4 + 2 + 2

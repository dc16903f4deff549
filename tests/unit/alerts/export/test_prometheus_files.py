"""The files for Prometheus and Alertmanager: their own tools accept them, whatever the rules say, and deploy/ holds them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from clew.alerts.export.annotations import ADVICE
from clew.alerts.export.levels import LEVELS
from clew.alerts.export.prometheus import ExportOptions, export_prometheus
from clew.alerts.export.promql import HEARTBEAT
from clew.alerts.export.series import NOT_EXPORTED, SHARES
from clew.alerts.rules_file import default_rules, parse_rules
from clew.alerts.signals import SIGNALS
from clew.catalog.series import METRICS
from clew.cli.main import run
from support.fix_prometheus import program

DEPLOY = Path(__file__).parents[4] / "deploy" / "prometheus"
ODD_RULES = r"""
common: {owner: "search \"team\" {{ $labels.x }}", runbook: "https://runbooks.example/{{x}}?a=\"b\""}
rules:
  error_rate:
    action: "Say \"stop\" {{ .Values }} 'now': # no comment\n- nor a list"
    overrides:
      - {service: "batch.1", threshold: 20 %}
      - {service: "we\"ird\\ser|vice", min_units: 20}
      - {service: quiet, enabled: false}
      - {environment: dev, severity: info}
  unsupported_answers: {calibration: {sensitivity: 90 %, specificity: 92 %, positives: 100, negatives: 200}}
  latency: {limit: 3s}
  slow: {signal: latency, limit: 5s, threshold: 1 %, service: shop, repeat: 1h}
  slo: {signal: slo_burn, objective: 99.5 %, severity: critical}
  heartbeat: {signal: heartbeat, severity: info}
  cache_miss: {enabled: false}
"""


def check(directory: Path, files: dict[str, str]) -> str:
    """Write files, and have Prometheus' and Alertmanager's tools look at them; return what they say."""
    for name, text in files.items():
        (directory / name).write_text(text)
    said = ""
    for tool, package, *arguments in (
        ("promtool", "prometheus", "check", "rules", "--lint-fatal", "clew-rules.yml"),
        ("amtool", "prometheus-alertmanager", "check-config", "alertmanager.yml"),
    ):
        checked = subprocess.run(
            [program(tool, package), *arguments], capture_output=True, check=False, cwd=directory, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        said += checked.stdout
    return said


def alerts_of(files: dict[str, str]) -> list[dict[str, Any]]:
    """Return the alerts of a file of rules."""
    groups = yaml.safe_load(files["clew-rules.yml"])["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def receiver_of(directory: Path, *labels: str) -> str:
    """Ask Alertmanager's tool where an alert goes."""
    command = [
        program("amtool", "prometheus-alertmanager"),
        "config",
        "routes",
        "test",
        "--config.file=alertmanager.yml",
    ]
    asked = subprocess.run([*command, *labels], capture_output=True, check=True, cwd=directory, text=True)
    return asked.stdout.strip()


def test_what_is_deployed_is_what_the_command_writes() -> None:
    """A change of the rules changes these files too: ``make fix-docs`` writes them anew."""
    for name, text in export_prometheus(default_rules()).files.items():
        assert (DEPLOY / name).read_text("utf-8") == text, name


@pytest.mark.slow
def test_the_deployed_cases_hold() -> None:
    """What is deployed comes to what its own test file says."""
    command = [program("promtool", "prometheus"), "test", "rules", "clew-rules.test.yml"]

    checked = subprocess.run(command, capture_output=True, check=False, cwd=DEPLOY, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_defaults_are_accepted_and_routed_to_clew(tmp_path: Path) -> None:
    """By promtool and amtool; every alert goes to clew."""
    export = export_prometheus(default_rules())

    said = check(tmp_path, export.files)

    assert "SUCCESS" in said
    assert "duplicate" not in said
    for alert in alerts_of(export.files):
        assert receiver_of(tmp_path, *(f"{name}={text}" for name, text in alert["labels"].items())) == "clew"


def test_odd_rules_are_accepted_too(tmp_path: Path) -> None:
    """Quotes, braces and patterns in texts stay texts; overrides become rules of their own."""
    rules = parse_rules(ODD_RULES, source="odd", base=default_rules())

    export = export_prometheus(rules, ExportOptions(token_file='/etc/"token"', url="https://clew.example/"))
    check(tmp_path, export.files)

    errors = [alert for alert in alerts_of(export.files) if alert["alert"] == "ClewErrorRate"]
    assert [alert["labels"].get("service") for alert in errors[::2]] == [None, "batch.1", 'we"ird\\ser|vice']
    assert r'service!~"batch\\.1|quiet|we\"ird\\\\ser\\|vice"' in errors[0]["expr"]
    assert "> 0.2 " in errors[2]["expr"]
    assert export.left_out["latency"].startswith("its limit is none of those that Prometheus counts: 0.005 s")
    assert export.left_out["cache_miss"] == "it is disabled, or not for this environment"
    assert {"slow", "slo", "heartbeat"} <= set(export.exported)
    routing = yaml.safe_load(export.files["alertmanager.yml"])
    assert routing["receivers"][0]["webhook_configs"][0] == {
        "url": "https://clew.example/api/alertmanager",
        "send_resolved": True,
        "http_config": {"authorization": {"credentials_file": '/etc/"token"'}},
    }
    assert [route["repeat_interval"] for route in routing["route"]["routes"]] == ["5m", "1h"]


def test_an_environment_is_a_label_and_its_overrides_hold() -> None:
    """Prometheus' metrics have no environment, so files are written for one."""
    rules = parse_rules(ODD_RULES, source="odd", base=default_rules())

    export = export_prometheus(rules, ExportOptions(environment="dev"))

    errors = [alert for alert in alerts_of(export.files) if alert["alert"] == "ClewErrorRate"]
    assert errors[0]["labels"]["severity"] == "info"
    assert {alert["labels"]["environment"] for alert in alerts_of(export.files)} == {"dev"}


def test_every_alert_says_who_what_and_what_to_do() -> None:
    """Labels to route by, a summary, a threshold, an action and a command; counts where there are any."""
    export = export_prometheus(
        parse_rules("common: {owner: us, runbook: 'https://x.example'}", source="x", base=default_rules())
    )

    for alert in alerts_of(export.files):
        if alert["alert"] == "ClewAgentSilent":
            continue
        assert {"rule", "severity", "owner"} <= set(alert["labels"]), alert["alert"]
        assert {"title", "summary", "threshold", "action", "command", "runbook_url"} <= set(alert["annotations"])
        signal = default_rules().rules[alert["labels"]["rule"]].signal
        assert ("n" in alert["annotations"]) == (signal not in LEVELS)


def test_every_signal_is_exported_or_has_a_reason() -> None:
    """A new signal fails here until somebody has thought about it."""
    exported = {*SHARES, "latency", *LEVELS}

    assert exported | set(NOT_EXPORTED) == set(SIGNALS)
    assert not exported & set(NOT_EXPORTED)
    assert exported == set(ADVICE)


def test_rules_ask_for_metrics_that_exist() -> None:
    """Every series of an expression is one that the catalogue declares, the agent or the server has, or an earlier rule."""
    rules = parse_rules(ODD_RULES, source="odd", base=default_rules())
    others = {HEARTBEAT, "clew_agent_lag_seconds", "clew_agent_events_total", "clew_agent_breaker_state"}
    others |= {"clew_store_days_until_full"}
    page = (Path(__file__).parents[4] / "docs" / "reference" / "metrics.md").read_text("utf-8")

    text = export_prometheus(rules).files["clew-rules.yml"]
    recorded = set(re.findall(r"- record: (\S+)", text))
    asked = set(re.findall(r"(?<![\w:/'\"-])((?:clew|gen_ai)_[a-z_]+(?::[a-z_]+)*)(?=[{\[ )])", text))

    assert all(f"`{metric}`" in page for metric in others)
    for series in asked:
        family = re.sub(r"_(bucket|sum|count)$", "", series)
        assert series in recorded | others or series in METRICS or family in METRICS, series


@pytest.mark.parametrize("signal", sorted(ADVICE))
def test_the_command_of_an_alert_is_understood(
    signal: str, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is run as it is said, for a service that there is not: nothing is found, but nothing is wrong with it."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CLEW_DSN", postgres)
    command = ADVICE[signal][1].replace("service:SERVICE", 'service:"rag api"').replace("SERVICE", "rag api")
    command = command.replace("SINK", "postgres").replace("LIMIT", "2s")

    code = run(shlex.split(command)[1:])

    assert code in {0, 1}, capsys.readouterr().err

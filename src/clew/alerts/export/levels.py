"""Levels in PromQL: one number, compared with a threshold."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.alerts.export.annotations import alert_annotations, alert_labels, literal
from clew.alerts.export.promql import HEARTBEAT, duration, number, selector
from clew.alerts.export.rule_file import AlertingRule, RuleGroup
from clew.alerts.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clew.alerts.export.scopes import ScopedRule
    from clew.alerts.notice import Severity

__all__ = ["LEVELS", "level_group", "watch_group"]

SILENT_AFTER_S: Final = 120.0
STORING_DAYS: Final = 5
"""On how many of the last seven days a service has stored documents that stores some nearly every day."""


class Level(NamedTuple):
    """How a level is measured and compared.

    Attributes:
        expr: Writes the expression of what is above (or below) the threshold; its value is that of the alert.
        by: Labels that tell its alerts apart.
        has_value: Whether the value of the expression is what is compared with the threshold.
        holds: The threshold is how long it has to be so.
    """

    expr: Callable[[ScopedRule, float], str]
    by: tuple[str, ...] = ()
    has_value: bool = True
    holds: bool = False


def level_group(scoped: Sequence[ScopedRule]) -> RuleGroup:
    """Write the rule of a level: one alert for each severity and set of services."""
    rules = [
        _alert(each, LEVELS[each.rule.signal], severity, threshold)
        for each in scoped
        for severity, threshold in _severities(each)
    ]
    rule = scoped[0].rule
    return RuleGroup(f"clew-alert-{rule.name}", tuple(rules), SIGNALS[rule.signal].description)


def watch_group(environment: str) -> RuleGroup:
    """Write the alert that says that no other can fire: agents are not scraped, or do not run.

    Args:
        environment: The environment that the alert names; empty for none.
    """
    labels = {"environment": literal(environment)} if environment else {}
    silent = f"time() - max({HEARTBEAT}) > {number(SILENT_AFTER_S)}\nor absent({HEARTBEAT})"
    alert = AlertingRule(
        alert="ClewAgentSilent",
        expr=silent,
        for_s=60.0,
        labels={"rule": "agent_silent", "severity": "critical", **labels},
        annotations={
            "title": "agent",
            "summary": "no agent of clew has been heard of for two minutes: no other alert can fire",
            "action": "Check whether the agent runs and Prometheus scrapes it",
            "command": "clew doctor",
        },
    )
    return RuleGroup("clew-alert-agent_silent", (alert,), "Without metrics no rule finds anything.")


def _severities(scoped: ScopedRule) -> list[tuple[Severity, float]]:
    rule = scoped.rule
    severities: list[tuple[Severity, float]] = [(rule.severity, rule.threshold)]
    if rule.critical_at is not None and rule.severity != "critical":
        severities.append(("critical", rule.critical_at))
    return severities


def _alert(scoped: ScopedRule, level: Level, severity: Severity, threshold: float) -> AlertingRule:
    return AlertingRule(
        alert=scoped.alert,
        expr=level.expr(scoped, threshold),
        for_s=max(scoped.rule.for_s, threshold) if level.holds else scoped.rule.for_s,
        keep_firing_s=scoped.rule.resolve_after_s if scoped.rule.signal != "heartbeat" else 0.0,
        labels=alert_labels(scoped, severity),
        annotations=alert_annotations(scoped, level.by, has_value=level.has_value),
    )


def _by_service(scoped: ScopedRule, metric: str, window: str, ago: str = "") -> str:
    offset = f" offset {ago}" if ago else ""
    return f"sum by (service) (increase({selector(metric, scoped.services.matcher())}[{window}]{offset}))"


def _of_days(vectors: Sequence[str]) -> str:
    """Write one vector of several, each marked with its day."""
    return "\n  or ".join(f'label_replace({vector}, "day", "{day}", "", "")' for day, vector in enumerate(vectors, 1))


def _no_data(scoped: ScopedRule, threshold: float) -> str:
    """Chernoff's bound of Poisson's probability of at most x where m are usual: ``exp(x - m + x·ln(m / x))`` for x < m."""
    now = _by_service(scoped, "clew_requests_total", "10m")
    last_week, yesterday = (_by_service(scoped, "clew_requests_total", "10m", ago) for ago in ("1w", "1d"))
    usual = f"({last_week} > 0 or {yesterday})"
    bound = f"exp({now} - {usual}\n  + {now} * ln({usual} / clamp_min({now}, 1e-9)))"
    return f"{now}\nand {now} < {usual}\nand {usual} >= 1\nand {bound} < {number(threshold)}"


def _cost_per_hour(scoped: ScopedRule, threshold: float) -> str:
    metric = "clew_cost_usd_total"
    now = _by_service(scoped, metric, "1h")
    days = _of_days([_by_service(scoped, metric, "1h", f"{day}d") for day in range(1, 8)])
    usual = f"{number(threshold)} * quantile by (service) (0.5,\n  {days}\n)"
    known = f"count by (service) (\n  {days}\n) >= 2"
    return f"{now} > {usual}\nand {now} > {number(scoped.rule.floor)}\nand {known}"


def _ingest_stale(scoped: ScopedRule, threshold: float) -> str:
    metric = "clew_documents_total"
    days = _of_days([f"({_by_service(scoped, metric, '1d', f'{day}d')} > 0)" for day in range(1, 8)])
    return (
        f"{_by_service(scoped, metric, duration(threshold))} == 0\n"
        f"and count by (service) (\n  {days}\n) >= {STORING_DAYS}"
    )


def _pipeline_lag(_scoped: ScopedRule, threshold: float) -> str:
    return f"max by (sink) (clew_agent_lag_seconds) > {number(threshold)}"


def _dead_letters(_scoped: ScopedRule, threshold: float) -> str:
    refused = 'clew_agent_events_total{outcome="quarantined"}'
    return f"max by (sink) (increase({refused}[1h])) > {number(threshold)}"


def _breaker_open(_scoped: ScopedRule, _threshold: float) -> str:
    return 'max by (sink) (clew_agent_breaker_state{state!="closed"}) > 0'


def _store_full(_scoped: ScopedRule, threshold: float) -> str:
    return f"min(clew_store_days_until_full) * 86400 < {number(threshold)}"


def _heartbeat(_scoped: ScopedRule, _threshold: float) -> str:
    return "vector(1)"


LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {
        "no_data": Level(_no_data, ("service",), has_value=False),
        "cost_per_hour": Level(_cost_per_hour, ("service",), has_value=False),
        "ingest_stale": Level(_ingest_stale, ("service",), has_value=False),
        "pipeline_lag": Level(_pipeline_lag, ("sink",)),
        "dead_letters": Level(_dead_letters, ("sink",)),
        "breaker_open": Level(_breaker_open, ("sink",), has_value=False, holds=True),
        "store_full": Level(_store_full),
        "heartbeat": Level(_heartbeat, has_value=False),
    }
)
"""The levels that can be exported, by signal."""

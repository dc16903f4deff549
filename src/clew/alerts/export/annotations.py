"""What an alert of Prometheus says: its labels, and annotations with the value, the counts, the threshold and a command.

Labels and annotations are Prometheus' templates. Names of services are whatever an application says, and a command is copied into a
shell: what could end a quotation there is left out of it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from clew.alerts.notice import format_value
from clew.alerts.signals import SIGNALS, ShareSignal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clew.alerts.export.scopes import ScopedRule
    from clew.alerts.notice import Severity

__all__ = ["ADVICE", "alert_annotations", "alert_labels", "literal"]

_SERVICE: Final = '{{ $labels.service | reReplaceAll "[^\\\\w .:/-]" "" }}'
_SINK: Final = '{{ $labels.sink | reReplaceAll "[^\\\\w .:/-]" "" }}'

ADVICE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "error_rate": ("Look at the faults behind the errors", "clew errors 'service:SERVICE' --since 1h"),
        "latency": ("Look at the slow requests", "clew traces 'service:SERVICE duration>LIMIT' --since 1h"),
        "unsupported_answers": (
            "Look at the answers without support",
            "clew logs 'service:SERVICE message:issue_detected' --since 6h",
        ),
        "cache_miss": ("Look at the look-ups of the cache", "clew logs 'service:SERVICE message:cache_*' --since 1h"),
        "provider_outage": ("Look at the failed calls", "clew errors 'service:SERVICE stage:generation' --since 1h"),
        "rate_limit": ("Look at the refused calls", "clew errors 'service:SERVICE stage:generation' --since 1h"),
        "zero_hits": ("Look at the searches that found nothing", "clew logs 'service:SERVICE context.hit_count:0' --since 1h"),
        "judge_failing": ("Look at the errors of the judge", "clew errors 'service:SERVICE stage:evaluation' --since 6h"),
        "slo_burn": ("Look at the faults behind the errors", "clew errors 'service:SERVICE' --since 6h"),
        "no_data": ("Check whether the service runs and its events arrive", "clew doctor"),
        "cost_per_hour": ("Look at what the money was spent on", "clew costs --service 'SERVICE' --by model --since 3h"),
        "ingest_stale": ("Look at the last ingestion", "clew logs 'service:SERVICE stage:ingestion' --limit 20"),
        "pipeline_lag": ("Look at what is behind", "clew spool status"),
        "dead_letters": ("Look at what was refused, and hand it in again", "clew dead list --sink 'SINK'"),
        "breaker_open": ("Check whether the backend of the sink can be reached", "clew doctor"),
        "store_full": ("Make room, or keep less", "clew store status"),
        "heartbeat": ("Nothing is wrong: this alert always fires", "clew doctor"),
    }
)  # fmt: skip
"""What to do, and the exact command, by signal; ``SERVICE``, ``SINK`` and ``LIMIT`` stand for those of the alert."""


def alert_labels(scoped: ScopedRule, severity: Severity) -> dict[str, str]:
    """Return the labels that every alert of a rule has."""
    labels = {**scoped.labels, "severity": severity}
    if scoped.environment:
        labels["environment"] = scoped.environment
    if scoped.rule.owner:
        labels["owner"] = scoped.rule.owner
    return {name: literal(text) for name, text in labels.items()}


def alert_annotations(scoped: ScopedRule, by: tuple[str, ...], *, has_value: bool = True) -> dict[str, str]:
    """Return what an alert of a rule says.

    Args:
        scoped: The rule.
        by: Labels that tell alerts of the rule apart.
        has_value: Whether the value of the expression is what is compared with the threshold.
    """
    rule, signal = scoped.rule, SIGNALS[scoped.rule.signal]
    is_counted = isinstance(signal, ShareSignal) and not signal.is_burn
    sign = "<" if signal.is_below else ">"
    threshold = format_value(rule.threshold, signal.unit)
    who = " ".join(f"{{{{ $labels.{label} }}}}" for label in by)
    n, bad = (_recorded(scoped, f"clew_alert:{what}:adaptive", by) for what in ("units", "bad"))
    counts = f" ({bad}/{n} {signal.counted})" if is_counted else ""
    value = f" {_shown(signal.unit)}" if has_value else ""
    what = f"{who} {signal.title}{value}{counts}".strip()
    action, command = ADVICE[rule.signal]
    annotations = {
        "title": signal.title,
        "summary": what if signal.name == "heartbeat" else f"{what} {sign} {threshold}",
        "threshold": f"{rule.threshold:.10g}",
        "action": literal(rule.action) or action,
        "command": _filled(command, scoped),
    }
    if has_value:
        annotations["value"] = "{{ $value }}"
    if is_counted:
        annotations |= {"n": n, "bad": bad, "low": _recorded(scoped, "clew_alert:share:low", by, "%.4f")}
    if isinstance(signal, ShareSignal) and signal.is_judged and rule.calibration is None:
        annotations["quality"] = "uncalibrated judge: its own errors are in the share"
    if rule.runbook:
        annotations["runbook_url"] = literal(rule.runbook)
    return annotations


def literal(text: str) -> str:
    """Write a text as a template that says exactly that.

    Example:
        >>> literal("a {{ b }}")
        'a {{ "{{" }} b }}'
    """
    return text.replace("{{", '{{ "{{" }}')


def _recorded(scoped: ScopedRule, record: str, by: tuple[str, ...], form: str = "%.0f") -> str:
    """Write a template that looks a recorded value up, for the alert's own labels."""
    query = f"{record}{{rule='{scoped.rule.name}'{''.join(f',{label}=%q' for label in by)}}}"
    values = " ".join(f"$labels.{label}" for label in by)
    return f'{{{{ with printf "{query}" {values} | query }}}}{{{{ . | first | value | printf "{form}" }}}}{{{{ end }}}}'


def _shown(unit: str) -> str:
    if unit == "ratio":
        return "{{ $value | humanizePercentage }}"
    if unit == "seconds":
        return "{{ $value | humanizeDuration }}"
    return '${{ $value | printf "%.2f" }}' if unit == "usd" else '{{ $value | printf "%.4g" }}'


def _filled(command: str, scoped: ScopedRule) -> str:
    limit = f"{scoped.rule.limit or 0:g}s"
    command = command.replace("service:SERVICE", f'service:"{_SERVICE}"').replace("SERVICE", _SERVICE)
    return command.replace("SINK", _SINK).replace("LIMIT", limit)

"""Shares in PromQL: the same decision as ``measure``, of windows that grow until they hold enough units.

For each rule, in this order, so that each series may use those before it:

=================================  ==============================================================================
clew_alert:units:increase          units of a window, by window
clew_alert:bad:increase            bad ones of them
clew_alert:units:adaptive          units of the shortest window that holds enough; else of the longest
clew_alert:bad:adaptive            bad ones of the same window
clew_alert:share:adaptive          their share, with a calibrated judge the true one
clew_alert:share:low               lower end of its interval, at z = 3.09
clew_alert:share:recent            the share of the last ten minutes
=================================  ==============================================================================

An alert fires while the lower end is above the threshold; once it fires, it goes on until the share of the adaptive window
and that of the last ten minutes have both been at or below the threshold for the rule's ``resolve_after``.

What is different from the engine in the agent: windows grow in a few steps, not by the minute; events count when they arrive,
not when they happened; and how many sessions are affected is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.alerts.export.annotations import alert_annotations, alert_labels
from clew.alerts.export.promql import add_up, duration, number, wilson_low
from clew.alerts.export.rule_file import AlertingRule, RecordingRule, RuleGroup
from clew.alerts.export.series import SHARES, Counters, ShareSeries, latency_series
from clew.alerts.measure import BURN_MIN_BAD, BURN_WINDOWS
from clew.alerts.signals import SIGNALS, ShareSignal
from clew.alerts.statistics import JUDGE_Z, Calibration, agresti_variance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clew.alerts.export.scopes import ScopedRule
    from clew.alerts.notice import Severity
    from clew.alerts.rules import Rule

__all__ = ["RECENT_S", "share_group", "steps"]

RECENT_S: Final = 600.0
STEPS: Final = (1, 2, 6, 12, 24)
"""A window grows from the shortest to so many times its length: 5, 10, 30 and 60 minutes."""

UNITS: Final = "clew_alert:units:increase"
BAD: Final = "clew_alert:bad:increase"
BY_SOURCE: Final = "clew_alert:units:source", "clew_alert:bad:source"
ADAPTIVE_UNITS: Final = "clew_alert:units:adaptive"
ADAPTIVE_BAD: Final = "clew_alert:bad:adaptive"
OBSERVED: Final = "clew_alert:share:observed"
OBSERVED_LOW: Final = "clew_alert:share:observed_low"
SHARE: Final = "clew_alert:share:adaptive"
LOW: Final = "clew_alert:share:low"
RECENT: Final = "clew_alert:share:recent"
BURN: Final = "clew_alert:burn:increase"


def share_group(scoped: Sequence[ScopedRule], windows: Sequence[float] = ()) -> RuleGroup | None:
    """Write the rules of a share.

    Args:
        scoped: A rule, for all services that it holds for.
        windows: Windows to use, in seconds, the shortest first; the rule's own for none.

    Returns:
        The group; None where what it counts is not in the metrics.
    """
    rules: list[RecordingRule | AlertingRule] = []
    for each in scoped:
        series = _series_of(each.rule)
        if series is None:
            return None
        signal = SIGNALS[each.rule.signal]
        assert isinstance(signal, ShareSignal)
        by = ("service", "model") if signal.by_model else ("service",)
        if signal.is_burn:
            rules += _burn(each, series[0], by)
        else:
            rules += _share(each, series, by, windows or steps(each.rule))
    rule = scoped[0].rule
    return RuleGroup(f"clew-alert-{rule.name}", tuple(rules), SIGNALS[rule.signal].description)


def steps(rule: Rule) -> tuple[float, ...]:
    """Return the windows of a rule, in seconds, the shortest first.

    Example:
        >>> from clew.alerts.rules import Rule
        >>> steps(Rule(name="e", signal="error_rate", threshold=0.05))
        (300.0, 600.0, 1800.0, 3600.0)
    """
    grown = (rule.window_s * times for times in STEPS)
    return tuple(sorted({min(window, rule.max_window_s) for window in grown} | {rule.max_window_s}))


def _series_of(rule: Rule) -> tuple[ShareSeries, ...] | None:
    if rule.signal == "latency":
        series = latency_series(rule.limit or 0.0)
        return None if series is None else (series,)
    return SHARES.get(rule.signal)


def _share(
    scoped: ScopedRule, series: tuple[ShareSeries, ...], by: tuple[str, ...], windows: Sequence[float]
) -> Iterator[RecordingRule | AlertingRule]:
    recent = min(RECENT_S, windows[-1])
    yield from _counted(scoped, series, by, [duration(window) for window in sorted({*windows, recent})])
    yield from _adaptive(scoped, [duration(window) for window in windows])
    yield from _judged(scoped, duration(recent))
    severities: list[tuple[Severity, float | None]] = [(scoped.rule.severity, None)]
    if scoped.rule.critical_at is not None and scoped.rule.severity != "critical":
        severities.append(("critical", scoped.rule.critical_at))
    for severity, at_least in severities:
        yield AlertingRule(
            alert=scoped.alert,
            expr=_condition(scoped, by, severity, at_least),
            for_s=scoped.rule.for_s,
            keep_firing_s=scoped.rule.resolve_after_s,
            labels=alert_labels(scoped, severity),
            annotations=alert_annotations(scoped, by),
        )


def _counted(
    scoped: ScopedRule, series: tuple[ShareSeries, ...], by: tuple[str, ...], windows: Sequence[str]
) -> Iterator[RecordingRule]:
    """Count units and bad units of each window, the shortest first."""
    records = (UNITS, BAD) if len(series) == 1 else BY_SOURCE
    for window in windows:
        for place, source in enumerate(series):
            labels = {"window": window} | ({"source": str(place)} if len(series) > 1 else {})
            units, bad = (
                _grown(counters, scoped, by, window) for counters in (source.units, source.bad or source.good)
            )
            if source.good:
                bad = f"sum by ({', '.join(by)}) ({scoped.recorded(records[0], **labels)})\n- {bad}"
            for record, expr in zip(records, (units, bad), strict=True):
                yield RecordingRule(record=record, expr=expr, labels=scoped.labels | labels)
    if len(series) > 1:
        for window in windows:
            for record, by_source in zip((UNITS, BAD), BY_SOURCE, strict=True):
                choices = [_choice(scoped, by_source, place, window, windows[-1]) for place in range(len(series))]
                expr = "sum without (source) (\n  " + "\n  or ".join(choices) + "\n)"
                yield RecordingRule(record=record, expr=expr, labels={**scoped.labels, "window": window})


def _grown(counters: Sequence[Counters], scoped: ScopedRule, by: tuple[str, ...], window: str) -> str:
    return add_up([each.grown(window, scoped.services) for each in counters], by)


def _choice(scoped: ScopedRule, record: str, place: int, window: str, longest: str) -> str:
    """Select what one source has counted, of services that have units of it in the longest window, and of none before it."""

    def units(source: int) -> str:
        return f"{scoped.recorded(BY_SOURCE[0], window=longest, source=str(source))} > 0"

    earlier = "".join(f" unless on (service) {units(source)}" for source in range(place))
    return f"{scoped.recorded(record, window=window, source=str(place))} and on (service) {units(place)}{earlier}"


def _adaptive(scoped: ScopedRule, windows: Sequence[str]) -> Iterator[RecordingRule]:
    """Take the shortest window that holds enough units."""
    enough = [f"{scoped.recorded(UNITS, window=window)} >= {scoped.rule.min_units}" for window in windows[:-1]]
    choices = [*enough, f"{scoped.recorded(UNITS, window=windows[-1])} > 0"]
    yield RecordingRule(record=ADAPTIVE_UNITS, expr="\nor ignoring (window) ".join(choices), labels=scoped.labels)
    units, bad = scoped.recorded(ADAPTIVE_UNITS), scoped.recorded(BAD)
    # Bad units of the same window, as its label says; never more than units, and none where there is no such series.
    expr = f"{bad} <= {units}\nor ({units} and {bad})\nor {units} * 0"
    yield RecordingRule(record=ADAPTIVE_BAD, expr=expr, labels=scoped.labels)


def _judged(scoped: ScopedRule, recent: str) -> Iterator[RecordingRule]:
    """Make shares of the counts, and the lower end of the interval."""
    units, bad = scoped.recorded(ADAPTIVE_UNITS), scoped.recorded(ADAPTIVE_BAD)
    of_recent = scoped.recorded(UNITS, window=recent), scoped.recorded(BAD, window=recent)
    recent_share = f"clamp_max({of_recent[1]} / ({of_recent[0]} > 0), 1)"
    signal, judge = SIGNALS[scoped.rule.signal], scoped.rule.calibration
    if judge is None or not isinstance(signal, ShareSignal) or not signal.is_judged:
        values = ((SHARE, f"{bad} / {units}"), (LOW, wilson_low(bad, units)), (RECENT, recent_share))
    else:
        values = (
            (OBSERVED, f"{bad} / {units}"),
            (OBSERVED_LOW, wilson_low(bad, units)),
            (SHARE, _true(scoped.recorded(OBSERVED), judge)),
            (LOW, _true_low(scoped.recorded(OBSERVED), scoped.recorded(OBSERVED_LOW), judge)),
            (RECENT, _true(recent_share, judge)),
        )
    for record, expr in values:
        yield RecordingRule(record=record, expr=expr, labels=scoped.labels)


def _true(observed: str, judge: Calibration) -> str:
    """Write the true share behind what a judge has called bad: ``statistics.corrected_share(…).value``."""
    gain, error = judge.sensitivity + judge.specificity - 1, 1 - judge.specificity
    return f"clamp(({observed} - {number(error)}) / {number(gain)}, 0, 1)"


def _true_low(observed: str, observed_low: str, judge: Calibration) -> str:
    """Write the lower end of its interval: ``statistics.corrected_share(…).low``."""
    gain, error = judge.sensitivity + judge.specificity - 1, 1 - judge.specificity
    true, scale = _true(observed, judge), JUDGE_Z * JUDGE_Z / (gain * gain)
    of_bad = number(scale * agresti_variance(judge.sensitivity, judge.positives))
    of_good = number(scale * agresti_variance(judge.specificity, judge.negatives))
    judged = f"{of_bad} * {true} ^ 2 + {of_good} * (1 - {true}) ^ 2"
    sampled = f"(({observed} - {observed_low}) / {number(gain)}) ^ 2"
    return f"clamp(({observed} - {number(error)}) / {number(gain)}\n  - sqrt({sampled} + {judged}), 0, 1)"


def _condition(scoped: ScopedRule, by: tuple[str, ...], severity: Severity, at_least: float | None) -> str:
    """Write when an alert fires, and how long it goes on."""
    rule, threshold = scoped.rule, number(scoped.rule.threshold)
    share = scoped.recorded(SHARE)
    bad = [
        f"{scoped.recorded(LOW)} > {threshold}",
        f"{scoped.recorded(ADAPTIVE_UNITS)} >= {rule.min_units}",
        f"{scoped.recorded(ADAPTIVE_BAD)} >= {rule.min_bad}",
    ]
    if at_least is not None:
        bad.append(f"{share} >= {number(at_least)}")
    fires = scoped.recorded("ALERTS", severity=severity, alertstate="firing")
    return (
        f"max without (window) ({share})\n"
        f"and (\n"
        f"  max without (window) ({' and '.join(bad)})\n"
        f"  or (\n"
        f"    max without (window) ({share} > {threshold})\n"
        f"    or max without (window) ({scoped.recorded(RECENT)} > {threshold})\n"
        f"  ) and on ({', '.join(by)}) {fires}\n"
        f")"
    )


def _burn(scoped: ScopedRule, series: ShareSeries, by: tuple[str, ...]) -> Iterator[RecordingRule | AlertingRule]:
    """Write how many times as fast as promised bad units come, over pairs of windows."""
    minutes = sorted({window for _, long, short in BURN_WINDOWS for window in (long, short)})
    yield from _counted(scoped, (series,), by, [duration(window * 60.0) for window in minutes])
    budget = max(1e-9, 1 - (scoped.rule.objective or 0.999))
    units, bad = scoped.recorded(UNITS), scoped.recorded(BAD)
    yield RecordingRule(record=BURN, expr=f"{bad} / ({units} > 0) / {number(budget)}", labels=scoped.labels)
    pairs: list[str] = []
    for times, long, short in BURN_WINDOWS:
        long_burn, short_burn = (scoped.recorded(BURN, window=duration(window * 60.0)) for window in (long, short))
        bad = f"{scoped.recorded(BAD, window=duration(long * 60.0))} >= {BURN_MIN_BAD}"
        pairs.append(
            f"max without (window) ({long_burn} > {number(times)} and {bad})\n"
            f"  and max without (window) ({short_burn} > {number(times)})"
        )
    yield AlertingRule(
        alert=scoped.alert,
        expr="\nor ".join(pairs),
        for_s=scoped.rule.for_s,
        keep_firing_s=scoped.rule.resolve_after_s,
        labels=alert_labels(scoped, scoped.rule.severity),
        annotations=alert_annotations(scoped, by),
    )

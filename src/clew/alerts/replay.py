"""How often rules would have fired in the past, and how close to their thresholds the usual level is.

A threshold is chosen by what it would have done: with alerts at 80 %, a cache that misses 77 % of its look-ups is one bad hour
away from an alert nobody needs. A replay runs the states of ``machine`` over the sums of some days, minute by minute, with the
windows and statistics of the live evaluation.

It knows sums only. So it takes every fault for one of many sessions, and leaves out rules about levels, such as the lag of a
sink, which are measured when they are evaluated. It evaluates whole minutes, fewer than the live evaluation does.

Most minutes of most rules are far from firing. While nothing is pending or firing, and the point estimate is at most at the
threshold, no interval has to be computed, and no state changes; only the rest takes the whole way. A week of three services and
twenty rules takes a few seconds.

Before: ``evaluate``. After: the command ``clew alerts replay``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from clew.alerts.evaluate import CountedShares, counts_of
from clew.alerts.machine import AlertState, advance
from clew.alerts.measure import measure_share, minutes_of, share_of
from clew.alerts.notice import Severity, format_value
from clew.alerts.rules import Target
from clew.alerts.signals import SIGNALS, ShareSignal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.alerts.measure import Measurement
    from clew.alerts.rules import Rule, RuleSet
    from clew.alerts.signals import MinuteCell
    from clew.alerts.window import SlidingCounts

__all__ = ["AlertReplay", "ReplayedAlert", "ReplayedRule", "replay"]

NAIVE_MINUTES: Final = 5

CLOSE: Final = 0.8
"""From which share of its threshold on a level is close to it: there, false alerts begin to be more than one in five days."""


class ReplayedAlert(Struct, frozen=True, kw_only=True):
    """An alert that there would have been.

    Attributes:
        since: When its condition began.
        fired_at: When it would have fired.
        resolved_at: When it would have been resolved; None if it was not at the end.
        severity: The worst that it was.
        value: The value when it fired.
        n: How many units that was of.
        bad: How many of them were bad.
    """

    since: datetime
    fired_at: datetime
    resolved_at: datetime | None
    severity: Severity
    value: float
    n: int
    bad: int


class ReplayedRule(Struct, frozen=True, kw_only=True):
    """What would have come of a rule for a target.

    Attributes:
        rule: The rule's name.
        signal: What it measures.
        target: The target.
        threshold: Its threshold there.
        alerts: The alerts, by time.
        naive_alerts: How many alerts "the share of five minutes is above the threshold" would have raised.
        median: Median of the value, over all minutes with enough units; None where there were none.
        p95: 95th percentile of the value.
        of_threshold: The median as a share of the threshold.
        measured: Share of the minutes in which there were enough units.
        warning: What to think about; empty for nothing.
    """

    rule: str
    signal: str
    target: Target
    threshold: float
    alerts: tuple[ReplayedAlert, ...]
    naive_alerts: int
    median: float | None
    p95: float | None
    of_threshold: float | None
    measured: float
    warning: str


class AlertReplay(Struct, frozen=True, kw_only=True):
    """What would have come of the rules in a time of the past.

    Attributes:
        since: Its beginning.
        until: Its end.
        step_s: How often the rules were evaluated, in seconds.
        rules: By rule, in the order of the rules, and target.
        left_out: Names of the rules that cannot be replayed.
    """

    since: datetime
    until: datetime
    step_s: float
    rules: tuple[ReplayedRule, ...]
    left_out: tuple[str, ...]


def replay(
    rules: RuleSet, cells: Iterable[MinuteCell], since: datetime, until: datetime, step_s: float = 60.0
) -> AlertReplay:
    """Evaluate rules over the past.

    Args:
        rules: The rules; disabled ones are left out without a word.
        cells: Sums by the minute, from ``horizon_minutes(rules)`` before *since* on, or windows begin with less.
        since: The beginning; its minute is the first.
        until: The end; its minute is not evaluated any more.
        step_s: How often to evaluate, in seconds; taken in whole minutes.

    Raises:
        ValueError: *until* is not after *since*.

    Example:
        >>> replay(default_rules(), cells, now - timedelta(days=7), now).rules[0].naive_alerts  # doctest: +SKIP
        163
    """
    step = minutes_of(step_s)
    minutes = range(int(since.timestamp() // 60), int(until.timestamp() // 60), step)
    if not minutes:
        raise ValueError(f"nothing to replay: {until:%Y-%m-%d %H:%M} is no minute after {since:%Y-%m-%d %H:%M}")
    counted = CountedShares(cells)
    replayed: list[ReplayedRule] = []
    left_out: list[str] = []
    for rule in rules.rules.values():
        signal = SIGNALS[rule.signal]
        if isinstance(signal, ShareSignal):
            targets = sorted(counts_of(rule, signal, counted), key=lambda each: each[0])
            replayed += [
                _replay_target(signal, held, target, counts.sliding(), minutes) for target, held, counts in targets
            ]
        elif rule.enabled:
            left_out.append(rule.name)
    return AlertReplay(since=since, until=until, step_s=step * 60.0, rules=tuple(replayed), left_out=tuple(left_out))


def _replay_target(
    signal: ShareSignal, rule: Rule, target: Target, counts: SlidingCounts, minutes: range
) -> ReplayedRule:
    values, alerts = _run(signal, rule, counts, minutes)
    values.sort()
    middle = median(values) if values else None
    naive = 0 if signal.is_burn else _count_naive(rule, counts, minutes)
    return ReplayedRule(
        rule=rule.name,
        signal=rule.signal,
        target=target,
        threshold=rule.threshold,
        alerts=tuple(alerts),
        naive_alerts=naive,
        median=middle,
        p95=values[min(len(values) - 1, int(len(values) * 0.95))] if values else None,
        of_threshold=None if middle is None or not rule.threshold else middle / rule.threshold,
        measured=len(values) / len(minutes),
        warning=_warning(signal, rule, middle, len(values) / len(minutes)),
    )


def _run(
    signal: ShareSignal, rule: Rule, counts: SlidingCounts, minutes: range
) -> tuple[list[float], list[ReplayedAlert]]:
    """Return the values of all minutes with enough units, and the alerts."""
    shortest, longest = minutes_of(rule.window_s), minutes_of(rule.max_window_s)
    is_corrected = signal.is_judged and rule.calibration is not None
    values: list[float] = []
    alerts: list[ReplayedAlert] = []
    state = AlertState()
    for minute in minutes:
        if not signal.is_burn:
            window = counts.adaptive(minute, at_least=rule.min_units, shortest=shortest, longest=longest)
            is_enough = window.n >= rule.min_units
            value = 0.0
            if is_enough:
                value = share_of(signal, rule, window).value if is_corrected else window.bad / window.n
                values.append(value)
            if state.phase == "ok" and not (is_enough and value > rule.threshold):
                continue  # nothing is bad, and nothing that was is remembered
        found = measure_share(signal, rule, counts, minute, is_dated=False)
        if signal.is_burn and found.value is not None:
            values.append(found.value)
        at = _end_of(minute)
        state, change = advance(state, found, rule, at)
        if change == "firing":
            alerts.append(_fired(measure_share(signal, rule, counts, minute), state, at))
        elif change == "update":
            alerts[-1] = replace(alerts[-1], severity=state.severity)
        elif change == "resolved":
            alerts[-1] = replace(alerts[-1], resolved_at=at)
    return values, alerts


def _fired(found: Measurement, state: AlertState, at: datetime) -> ReplayedAlert:
    return ReplayedAlert(
        since=min(found.began or at, state.since or at),
        fired_at=at,
        resolved_at=None,
        severity=state.severity,
        value=found.value or 0.0,
        n=found.n or 0,
        bad=found.bad or 0,
    )


def _count_naive(rule: Rule, counts: SlidingCounts, minutes: range) -> int:
    """Count how often the share of five minutes rises above the threshold."""
    number, was_above = 0, False
    for minute in minutes:
        window = counts.fixed(minute, NAIVE_MINUTES)
        is_above = window.bad > rule.threshold * window.n
        number += is_above and not was_above
        was_above = is_above
    return number


def _warning(signal: ShareSignal, rule: Rule, middle: float | None, measured: float) -> str:
    """Return what to think about: a level close to its threshold, or too little to decide."""
    if middle is None:
        return f"never {rule.min_units} {signal.counted} in {minutes_of(rule.max_window_s)} minutes: it cannot fire"
    if signal.is_burn:
        return ""
    level, of_threshold = f"the usual level is {format_value(middle, signal.unit)}", middle / rule.threshold
    if of_threshold > 1:
        return f"{level}, above the threshold of {format_value(rule.threshold, signal.unit)}: choose a higher threshold"
    if of_threshold > CLOSE:
        share = format_value(of_threshold, "ratio")
        return f"{level}, {share} of the threshold: expect false alerts, or choose a higher threshold"
    if measured < 0.5:
        return f"enough {signal.counted} to decide in {format_value(measured, 'ratio')} of the minutes only"
    return ""


def _end_of(minute: int) -> datetime:
    return datetime.fromtimestamp((minute + 1) * 60, UTC)

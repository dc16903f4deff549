"""What is found about an alert that fires, and the notice that says it.

``fetch_evidence`` asks the store, ``make_notice`` writes: the second is pure, so that a store that is slow costs the
evidence and not the notice. What is suggested is a table (``ACTIONS``): the next room of the house, diagnosis, goes deeper.

Before: ``evaluator``. After: ``notice``.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from clew.alerts.measure import share_of
from clew.alerts.notice import Example, Notice
from clew.alerts.signals import SIGNALS, ShareSignal, metrics_of, minute_counts
from clew.store.postgres.alerts.cells import fetch_cells
from clew.store.postgres.alerts.evidence import (
    BAD_UNITS,
    BadUnit,
    ErrorGroup,
    Neighbourhood,
    SlowStep,
    fetch_bad,
    fetch_errors,
    fetch_good,
    fetch_slow_step,
    fetch_version_change,
)

if TYPE_CHECKING:
    from clew.alerts.evaluate import RuleFinding
    from clew.alerts.measure import Measurement
    from clew.alerts.notice import NoticeKind
    from clew.alerts.rules import Rule, Target
    from clew.store.postgres.reading import Reading

__all__ = ["ACTIONS", "Evidence", "fetch_evidence", "fetch_sessions", "make_notice", "suggestion", "with_evidence_of"]

MAX_TRACES: Final = 100
CHANGE_BEFORE: Final = timedelta(hours=24)
RECENT_CHANGE: Final = timedelta(hours=2)
MAX_TEXT: Final = 200

USUAL_OVER: Final = timedelta(days=1)
ONSET_MARGIN: Final = timedelta(minutes=2)
"""A fault may have begun a little before the minute that it is said to have begun in."""

ACTIONS: Final = (
    (r"insufficient.?quota|billing", "Top up the account or raise its budget: trying again does not help"),
    (r"rate.?limit|too.?many.?requests|429|throttl|exhausted", "Lower the concurrency, queue calls, or switch to another model"),
    (r"auth|permission|forbidden|unauthor|invalid.?api.?key|401|403", "Check the provider's key, and whether it was changed"),
    (r"out.?of.?memory|memoryerror|cuda", "Halve the batch size, or cut long texts before they are embedded"),
    (r"timeout|timed.?out|deadline", "Look at the provider's status, and lower the timeout or switch to another model"),
    (r"connect|unreachable|dns|network|ssl|tls", "Check whether the host can reach the system that the call goes to"),
    (r"service.?unavailable|internal.?server|bad.?gateway|overloaded|50[0234]|529", "Switch to another model or provider, and look at its status page"),
    (r"context.?length|maximum.?context|too.?long|token", "Pass fewer or shorter chunks: the prompt is too long for the model"),
    (r"json|decode|parse|validation|schema", "Look for a change of the prompt or the model that broke the form of the answer"),
    (r"pool", "Enlarge the connection pool, or find what does not give its connections back"),
)  # fmt: skip
"""What to do about an error, by a pattern of its type and message."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What was found about an alert.

    Attributes:
        bad: The newest bad units of the window.
        good: Requests that succeeded at the same time: (trace id, milliseconds).
        errors: What the bad traces failed of, the most frequent first.
        slow_step: The step that makes slow traces slow; None where that is not asked, or not known.
        change: The last change of the service's version before it began: (version, since when); None where there was none.
        usual: The share of the day before it began, where what is measured is a share; None where there were no units.
    """

    bad: list[BadUnit] = []
    good: list[tuple[str, float | None]] = []
    errors: list[ErrorGroup] = []
    slow_step: SlowStep | None = None
    change: tuple[str, datetime] | None = None
    usual: float | None = None


def fetch_sessions(rule: Rule, target: Target, found: Measurement, at: datetime) -> Reading[int]:
    """Count the sessions that a fault affects.

    Args:
        rule: As it holds for the target.
        target: What is evaluated.
        found: What was measured.
        at: The moment of the evaluation.

    Returns:
        How many of the newest bad units' sessions are different; ``rule.min_sessions`` where that cannot be known: the signal
        has no units of its own, or events do not show them (sums outlive the events that they are made of).
    """
    where = _neighbourhood(rule, target, found, at)
    if where is None:
        return rule.min_sessions
    units = yield from fetch_bad(where)
    return len({unit.session for unit in units}) if units else rule.min_sessions


def fetch_evidence(finding: RuleFinding, at: datetime, *, in_any_environment: bool = False) -> Reading[Evidence]:
    """Collect what events say about an alert.

    Args:
        finding: The alert.
        at: The moment of the evaluation.
        in_any_environment: Look at all environments of the service: the alert does not say which one it is of.
    """
    rule, target, found = finding.rule, finding.target, finding.measurement
    change = None
    if target.service:
        began = found.began or finding.after.since or at
        change = yield from fetch_version_change(
            target.service,
            None if in_any_environment else target.environment,
            began - CHANGE_BEFORE,
            began + timedelta(minutes=1),
        )
    usual = yield from _fetch_usual(rule, target, (found.began or finding.after.since or at) - ONSET_MARGIN)
    where = _neighbourhood(rule, target, found, at)
    if where is None:
        return Evidence(change=change, usual=usual)
    if in_any_environment:
        where = replace(where, environment=None)
    bad = yield from fetch_bad(where)
    traces = list(dict.fromkeys(unit.trace_id for unit in bad if unit.trace_id is not None))[:MAX_TRACES]
    good = yield from fetch_good(where, traces)
    errors = (yield from fetch_errors(traces)) if traces else []
    slow_step = None
    if rule.signal == "latency" and traces and good:
        slow_step = yield from fetch_slow_step(traces, [trace_id for trace_id, _ in good])
    return Evidence(bad=bad, good=good, errors=errors, slow_step=slow_step, change=change, usual=usual)


def make_notice(
    finding: RuleFinding, found: Evidence | None, *, kind: NoticeKind, at: datetime, public_url: str = ""
) -> Notice:
    """Write the notice of a change.

    Args:
        finding: What changed.
        found: What events say about it; None where they could not be asked in time.
        kind: Why it is said.
        at: The moment of the change.
        public_url: Where our pages are; empty where that is not known.
    """
    rule, target, measured, state = finding.rule, finding.target, finding.measurement, finding.after
    signal = SIGNALS[rule.signal]
    evidence = found or Evidence()
    quality = list(measured.quality)
    if found is None and kind != "resolved":
        quality.append("the store took too long to give evidence: traces and cause are missing")
    examples = _examples(evidence, measured, rule, public_url)
    cause, lines = _cause(evidence, measured, rule.signal)
    action = rule.action or suggestion(evidence.errors, evidence.slow_step, rule.signal)
    base = public_url.rstrip("/")
    since = state.since or at
    return Notice(
        alert_id=state.alert_id,
        number=state.number,
        kind=kind,
        rule=rule.name,
        title=signal.title,
        severity=state.severity,
        service=target.service,
        environment=target.environment,
        subject=target.subject,
        unit=signal.unit,
        value=measured.value,
        threshold=measured.threshold,
        is_below=signal.is_below,
        n=measured.n,
        bad=measured.bad,
        counted=signal.counted,
        low=measured.low,
        high=measured.high,
        window_s=measured.window_s,
        baseline=evidence.usual if measured.baseline is None else measured.baseline,
        baseline_text="the day before" if measured.baseline is None else measured.baseline_text,
        since=since,
        at=at,
        resolved_at=at if kind == "resolved" else None,
        affected_users=len({unit.user_id for unit in evidence.bad if unit.user_id is not None}) or None,
        affected_sessions=len({unit.session_id for unit in evidence.bad if unit.session_id is not None}) or None,
        examples=examples,
        cause=cause,
        evidence=lines,
        deploy=_change(evidence, since),
        action=action,
        command=_command(examples, target),
        quality=tuple(quality),
        owner=rule.owner,
        runbook=rule.runbook,
        url=f"{base}/alerts?id={state.alert_id}" if base else "",
    )


def with_evidence_of(notice: Notice, before: Notice) -> Notice:
    """Give the notice of an end the evidence of what is over: at its moment there is none any more.

    Args:
        notice: That of the end.
        before: What was said of the alert before.
    """
    return replace(
        notice,
        baseline=before.baseline if notice.baseline is None else notice.baseline,
        baseline_text=before.baseline_text if notice.baseline is None else notice.baseline_text,
        examples=before.examples,
        cause=before.cause,
        evidence=before.evidence,
        deploy=before.deploy,
        affected_users=before.affected_users,
        affected_sessions=before.affected_sessions,
        action=before.action,
        command=before.command,
    )


def suggestion(errors: list[ErrorGroup], slow_step: SlowStep | None, signal: str) -> str:
    """Return what to do, in one sentence, by what was found.

    Example:
        >>> suggestion([ErrorGroup("RateLimitError", "generation", 34, "429", "gpt-4o")], None, "error_rate")
        'Lower the concurrency, queue calls, or switch to another model'
    """
    if errors:
        text = f"{errors[0].error_type} {errors[0].message or ''}"
        for pattern, action in ACTIONS:
            if re.search(pattern, text, re.IGNORECASE):
                return action
        return "Look at the newest trace, and at what changed before it began"
    if slow_step is not None:
        return f"Look at {_cut(slow_step.message)} in {slow_step.stage}, where the time goes"
    return "Look at the traces below" if signal in BAD_UNITS else ""


def _fetch_usual(rule: Rule, target: Target, until: datetime) -> Reading[float | None]:
    """Fetch the share of bad units of the day before a moment; None where there were too few to say."""
    signal = SIGNALS[rule.signal]
    if not isinstance(signal, ShareSignal) or signal.is_burn:
        return None
    cells = yield from fetch_cells(metrics_of([signal]), until - USUAL_OVER, until, target.service)
    counts = minute_counts(signal, cells, rule.limit).get(target)
    if counts is None:
        return None
    day = counts.fixed(int(until.timestamp() // 60), int(USUAL_OVER.total_seconds() // 60))
    return share_of(signal, rule, day).value if day.n >= rule.min_units else None


def _neighbourhood(rule: Rule, target: Target, found: Measurement, at: datetime) -> Neighbourhood | None:
    if rule.signal not in BAD_UNITS:
        return None
    begin = (
        max(at - timedelta(seconds=found.window_s + 60), (found.began or at) - timedelta(minutes=1))
        if found.began
        else at - timedelta(seconds=found.window_s + 60)
    )
    return Neighbourhood(
        signal=rule.signal,
        **target._asdict(),
        since=min(begin, at - timedelta(minutes=2)),
        until=at + timedelta(seconds=60),
        limit_ms=None if rule.limit is None else rule.limit * 1000,
    )


def _examples(found: Evidence, measured: Measurement, rule: Rule, public_url: str) -> tuple[Example, ...]:
    """Choose the traces to look at: the worst, typical ones, and a good one to compare with."""
    base = public_url.rstrip("/")

    def example(trace_id: str, role: str, text: str) -> Example:
        url = f"{base}/t/{trace_id}" if base else ""
        return Example(trace_id=trace_id, role=role, text=text, url=url)  # pyright: ignore[reportArgumentType]

    units = {unit.trace_id: unit for unit in reversed(found.bad) if unit.trace_id is not None}
    if not units:
        return tuple(example(trace_id, "typical", measured.text) for trace_id in measured.trace_ids[:3])
    by_time = sorted(units.values(), key=lambda unit: unit.duration_ms or 0.0)
    worst = by_time[-1] if rule.signal == "latency" else max(units.values(), key=lambda unit: unit.timestamp)
    typical = [unit for unit in (by_time[len(by_time) // 2], by_time[len(by_time) // 4]) if unit is not worst]
    chosen = [(worst, "worst"), *((unit, "typical") for unit in dict.fromkeys(typical))]
    said = found.errors[0].error_type if found.errors else ""
    examples = [example(unit.trace_id or "", role, _of_unit(unit, said)) for unit, role in chosen]
    if found.good:
        trace_id, duration_ms = found.good[0]
        examples.append(example(trace_id, "good", "" if duration_ms is None else f"{duration_ms / 1000:.2f} s"))
    return tuple(examples)


def _of_unit(unit: BadUnit, said: str) -> str:
    took = "" if unit.duration_ms is None else f"{unit.duration_ms / 1000:.2f} s"
    return ", ".join(part for part in (_cut(said), took) if part)


def _cause(found: Evidence, measured: Measurement, signal: str) -> tuple[str, tuple[str, ...]]:
    """Return the most likely cause so far in a few words, and lines of evidence."""
    lines: list[str] = []
    cause = _cut(measured.text)
    traces = len({unit.trace_id for unit in found.bad if unit.trace_id is not None})
    shown = min(traces, MAX_TRACES)
    for group in found.errors:
        asked = " at ".join(_cut(name) for name in (group.model, group.provider) if name)
        model = f" ({asked})" if asked else ""
        message = f": {_cut(group.message)}" if group.message else ""
        lines.append(f"{_cut(group.error_type)} in {group.stage}{model}, {group.traces} of {shown} traces{message}")
    if found.errors:
        first = found.errors[0]
        whose = f"{_cut(first.provider)} " if signal == "provider_outage" and first.provider else ""
        cause = f"{whose}{_cut(first.error_type)} {first.traces}/{shown}"
    step = found.slow_step
    if step is not None:
        cause = f"{_cut(step.message)} {step.good_ms / 1000:.2f} s → {step.bad_ms / 1000:.2f} s"
        lines.append(f"{_cut(step.message)} in {step.stage} makes up {step.share:.0%} of what slow traces take longer")
    services = Counter(unit.user_id for unit in found.bad if unit.user_id is not None)
    if services and len(services) > 1:
        user, number = services.most_common(1)[0]
        if number > len(found.bad) / 2:
            lines.append(f"user {_cut(user)} has {number} of {len(found.bad)} of them")
    if measured.text and measured.text not in cause:
        lines.append(_cut(measured.text))
    return cause, tuple(lines)


def _change(found: Evidence, since: datetime) -> str:
    if found.change is None:
        return ""
    version, began = found.change
    before = since - began
    if before > RECENT_CHANGE:
        return f"version {_cut(version)} at {began:%Y-%m-%d %H:%M}, {before.total_seconds() / 3600:.0f} h before"
    return f"version {_cut(version)} at {began:%H:%M}, {max(0.0, before.total_seconds()) / 60:.0f} min before"


def _command(examples: tuple[Example, ...], target: Target) -> str:
    if examples:
        return f"clew trace {examples[0].trace_id}"
    return f"clew logs 'service:\"{_plain(target.service)}\"' --since 1h" if target.service else "clew doctor"


def _plain(text: str) -> str:
    """Leave out of a name what would end a quotation in a shell or a query."""
    return re.sub(r"[^\w .:/-]", "", text)[:100]


def _cut(text: str | None) -> str:
    """Return a text of an event as one line of bounded length, without control characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in (text or "")[: MAX_TEXT * 4]).split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"

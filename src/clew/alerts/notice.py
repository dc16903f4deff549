"""What is said of an alert: one notice for each change of its state.

A notice holds everything that a person on call needs, as values: what was measured, of how many, since when, who is
affected, which traces to look at, what changed before, what to do. How it looks in Slack, in a mail or in JSON is
the receivers' (``notify``); the first line is made here, since it is the same everywhere and has to be enough on a
telephone.

Before: ``evidence``, which collects it from the store. After: ``notify``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

__all__ = ["Example", "Notice", "NoticeKind", "Severity", "dedupe_key", "first_line", "format_value"]

NoticeKind = Literal["firing", "update", "resolved", "test", "heartbeat"]
"""Why it is said: it fires, it still fires (worse, or a reminder), it is over, somebody tries the receivers, or the
regular sign that the evaluation runs."""

Severity = Literal["critical", "warning", "info"]

Unit = Literal["ratio", "seconds", "usd", "count", "score"]

_MUCH = 1e15
"""From here on a number is written with an exponent: its digits would be rounding."""

_MARKS = {"critical": "CRIT", "warning": "WARN", "info": "INFO"}


class Example(Struct, frozen=True, kw_only=True):
    """A trace to look at.

    Attributes:
        trace_id: Its id, as a UUID.
        role: Why this one: the ``worst``, a ``typical`` bad one, or a ``good`` one to compare with.
        text: What is to be seen in it, such as ``RateLimitError in generation`` or ``4.2 s``.
        url: Its page; empty without ``CLEW_PUBLIC_URL``.
    """

    trace_id: str
    role: Literal["worst", "typical", "good"]
    text: str = ""
    url: str = ""


class Notice(Struct, frozen=True, kw_only=True):
    """What is said of an alert at one change of its state.

    Attributes:
        alert_id: The alert's id.
        number: Which change of this alert it is, from 1.
        kind: Why it is said.
        rule: Name of the rule, such as ``error_rate``.
        title: What is measured, in words, such as ``error rate``.
        severity: How bad it is.
        service: Which service; empty for all of the installation.
        environment: Which environment; empty where none is given.
        subject: What it is about in the service, such as a model or an error; empty for the whole.
        unit: Unit of the value, the threshold, the interval and the baseline.
        value: What was measured; None where nothing was.
        threshold: What it is compared with.
        is_below: The alert fires below the threshold, not above it.
        n: How many units were looked at; None where that means nothing.
        bad: How many of them were bad; None where that means nothing.
        counted: What the units are, in the plural, such as ``requests``.
        low: Lower end of the interval of the value; None where there is none.
        high: Upper end of it.
        window_s: How much time was looked at, in seconds.
        baseline: What is usual; None where it is not known.
        baseline_text: What the baseline is of, such as ``the same hour of the last 7 days``.
        since: When it began.
        at: When the change was found.
        resolved_at: When it was over; None while it is not.
        affected_users: How many users are affected; None where it is not known.
        affected_sessions: How many sessions are; None where it is not known.
        examples: Traces to look at, the most useful first.
        cause: The most likely cause so far, in a few words, such as ``RateLimitError 34/38``; empty where none is known.
        evidence: Lines of what was found, the strongest first.
        deploy: The last change of the service before it began, in words; empty where none is known.
        action: What to do, in one sentence.
        command: The exact command to type for it, or to look further.
        quality: What limits the data: late events, an uncalibrated judge, a store that was away.
        owner: Who looks after it; empty where the rule does not say.
        runbook: URL of what to do; empty where the rule has none.
        url: The alert's page; empty without ``CLEW_PUBLIC_URL``.
        grouped: First lines of other alerts that are notified with this one.
        summary: What another system says of an alert that it found; it is said in place of the value and the threshold.

    Example:
        >>> Notice(alert_id="a1", number=1, kind="test", rule="error_rate", title="error rate", severity="critical",
        ...     unit="ratio", value=0.083, threshold=0.05, since=moment, at=moment)  # doctest: +SKIP
    """

    alert_id: str
    number: int
    kind: NoticeKind
    rule: str
    title: str
    severity: Severity
    service: str = ""
    environment: str = ""
    subject: str = ""
    unit: Unit = "ratio"
    value: float | None
    threshold: float
    is_below: bool = False
    n: int | None = None
    bad: int | None = None
    counted: str = "requests"
    low: float | None = None
    high: float | None = None
    window_s: float = 300.0
    baseline: float | None = None
    baseline_text: str = ""
    since: datetime
    at: datetime
    resolved_at: datetime | None = None
    affected_users: int | None = None
    affected_sessions: int | None = None
    examples: tuple[Example, ...] = ()
    cause: str = ""
    evidence: tuple[str, ...] = ()
    deploy: str = ""
    action: str = ""
    command: str = ""
    quality: tuple[str, ...] = ()
    owner: str = ""
    runbook: str = ""
    url: str = ""
    grouped: tuple[str, ...] = ()
    summary: str = ""


def dedupe_key(notice: Notice, receiver: str) -> str:
    """Return what names this notice at this receiver, and no other one: who gets it twice knows it by that.

    Example:
        >>> dedupe_key(notice, "slack")  # doctest: +SKIP
        'a1:1:slack'
    """
    return f"{notice.alert_id}:{notice.number}:{receiver}"


def first_line(notice: Notice) -> str:
    """Write the line that is enough on a telephone.

    Example:
        >>> first_line(notice)  # doctest: +SKIP
        '[CRIT] rag-api error rate 8.3 % (38/458, 5.9–11.5) > 5 % since 21:33 – RateLimitError 34/38 – trace 550e8400…'
    """
    parts = [f"[{_mark(notice)}] {_what(notice)} since {notice.since:%H:%M}"]
    if notice.cause:
        parts.append(_one_line(notice.cause))
    if notice.examples:
        parts.append(f"trace {notice.examples[0].trace_id}")
    if notice.command and notice.kind != "resolved":
        parts.append(_one_line(f"{notice.action}: {notice.command}" if notice.action else notice.command))
    return " – ".join(parts)


def format_value(value: float | None, unit: Unit) -> str:
    """Write a value with its unit, as people read it.

    Example:
        >>> format_value(0.083, "ratio"), format_value(2.31, "seconds"), format_value(12.5, "usd")
        ('8.3 %', '2.31 s', '$12.50')
    """
    if value is None:
        return "no data"
    if unit == "ratio":
        return f"{_short(value * 100)} %"
    if unit == "seconds":
        return f"{_short(value)} s"
    return (
        f"${value:,.2f}" if unit == "usd" and abs(value) < _MUCH else f"{'$' if unit == 'usd' else ''}{_short(value)}"
    )


def _mark(notice: Notice) -> str:
    if notice.kind == "resolved":
        return "OK"
    return "TEST" if notice.kind == "test" else _MARKS[notice.severity]


def _what(notice: Notice) -> str:
    """Return who, what, how much, of how many, and the threshold."""
    who = " ".join(_one_line(part) for part in (notice.service, notice.environment, notice.subject) if part)
    if notice.summary:
        return f"{who} {_one_line(notice.title)}: {_one_line(notice.summary)}".lstrip()
    sign = "<" if notice.is_below else ">"
    if notice.kind == "resolved":
        sign = "≥" if notice.is_below else "≤"
    counts = "" if notice.n is None or notice.bad is None else f"{notice.bad}/{notice.n}"
    interval = ""
    if notice.low is not None and notice.high is not None:
        scale = 100 if notice.unit == "ratio" else 1
        interval = f"{_short(notice.low * scale)}–{_short(notice.high * scale)}"
    aside = ", ".join(part for part in (counts, interval) if part)
    value = format_value(notice.value, notice.unit) + (f" ({aside})" if aside else "")
    return f"{who} {_one_line(notice.title)} {value} {sign} {format_value(notice.threshold, notice.unit)}".lstrip()


def _short(value: float) -> str:
    """Write at most three digits that matter, or all of a number from a hundred on."""
    return f"{value:,.0f}" if 100 <= abs(value) < _MUCH else f"{value:.3g}"


def _one_line(text: str) -> str:
    return " ".join(text.split())

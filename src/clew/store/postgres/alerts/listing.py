"""Alerts and silences as people ask for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Raw, Struct, json

from clew.errors import NotFoundError, UsageError
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Row, Statement

__all__ = [
    "AlertChange",
    "AlertDetail",
    "AlertRow",
    "Alerts",
    "Delivery",
    "EvaluationStatus",
    "OutboxCount",
    "Silence",
    "Silences",
    "fetch_alert",
    "fetch_alerts",
    "fetch_evaluation",
    "fetch_outbox",
    "fetch_silences",
    "id_range",
]

_OF_EVALUATORS = frozenset({"rules_digest", "evaluator", "receivers", "gap_began", "gap_ended"})

OLD_EVALUATION_S = 120.0
"""An evaluation that is older than that is said to be stale."""


class EvaluationStatus(Struct, frozen=True, kw_only=True):
    """How the evaluation of rules is doing.

    Attributes:
        state: ``ok``; ``degraded`` where data are late or were missing; ``stale`` where none has been for two minutes; ``off``
            where there has never been one.
        evaluated_at: When the last one was; None for never.
        evaluated_to: Which moment it looked at.
        age_s: How long ago it was, in seconds.
        took_s: How long it took, in seconds.
        lag_s: How late events were then, in seconds; None where it is not known.
        quality: What limits the data.
        rules: How many rules were in force.
        rules_source: Where they are from.
        rules_error: Why a newer file of rules is not in force; empty where that is not so.
    """

    state: str
    evaluated_at: datetime | None = None
    evaluated_to: datetime | None = None
    age_s: float | None = None
    took_s: float | None = None
    lag_s: float | None = None
    quality: list[str] = []
    rules: int = 0
    rules_source: str = ""
    rules_error: str = ""


class AlertRow(Struct, frozen=True, kw_only=True):
    """An alert.

    Attributes:
        id: Its id, a UUID; empty while it is pending.
        rule: The rule that raised it.
        state: ``pending``, ``firing``, ``no_data`` (it fires, and nothing was heard since) or ``resolved``.
        severity: How bad it is.
        service: Whose it is.
        environment: Where that runs.
        subject: What of the service, such as a model.
        since: When it began.
        fired_at: When it fired; None while it is pending.
        resolved_at: When it was over; None while it goes on.
        value: What was measured last.
        threshold: What that was compared with; None where Alertmanager does not say.
        n: Of how many units; None where that means nothing.
        bad: How many of them were bad.
        low: Lower end of the 95 % interval of the value.
        high: Upper end of it.
        quality: What limits the data.
        muted_by: Why nobody is notified: a silence, or the alert that explains it; empty where somebody is.
        acknowledged_at: When somebody said to look after it; None where nobody has.
        acknowledged_by: Who.
        acknowledged_note: What they said.
        trace_ids: Traces to look at.
        source: Who found it: ``clew``, or ``alertmanager``, which sent it.
        notice: All that was said of it, the last time something was; see ``clew.alerts.notice.Notice``.
    """

    id: str
    rule: str
    state: str
    severity: str = "warning"
    service: str = ""
    environment: str = ""
    subject: str = ""
    since: datetime | None = None
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    value: float | None = None
    threshold: float | None = None
    n: int | None = None
    bad: int | None = None
    low: float | None = None
    high: float | None = None
    quality: list[str] = []
    muted_by: str = ""
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    acknowledged_note: str = ""
    trace_ids: list[str] = []
    source: str = "clew"
    notice: Raw | None = None


class Alerts(Struct, frozen=True):
    """An answer.

    Attributes:
        alerts: Those that go on first, each by when it fired, the newest first.
        evaluation: How the evaluation is doing.
    """

    alerts: list[AlertRow]
    evaluation: EvaluationStatus


class Delivery(Struct, frozen=True):
    """What became of a notice at one receiver.

    Attributes:
        receiver: Who.
        state: ``waiting``, ``sending``, ``sent``, ``failed``, or ``grouped`` (said together with another alert).
        attempts: How often it was tried.
        repeated: How often it may have been sent twice, since a notifier was killed at it.
        sent_at: When it was taken; None where it was not.
        reason: Why not; empty where it was.
    """

    receiver: str
    state: str
    attempts: int
    repeated: int
    sent_at: datetime | None
    reason: str


class AlertChange(Struct, frozen=True):
    """A change of an alert.

    Attributes:
        number: Which one, from 1.
        kind: ``firing``, ``update``, ``resolved`` …
        at: When.
        muted_by: Why nobody was notified; empty where somebody was.
        deliveries: What became of it.
    """

    number: int
    kind: str
    at: datetime
    muted_by: str
    deliveries: list[Delivery]


class AlertDetail(Struct, frozen=True):
    """One alert with all of its changes.

    Attributes:
        alert: The alert.
        changes: Its changes, by time.
    """

    alert: AlertRow
    changes: list[AlertChange]


class Silence(Struct, frozen=True):
    """A time in which nobody is notified of some alerts.

    Attributes:
        id: Its id, a UUID.
        rule: Of this rule; ``*`` for every one.
        service: Of this service; empty for any.
        environment: In this environment; empty for any.
        begins_at: From when.
        ends_at: Until when.
        why: The reason that was given.
        created_by: By whom.
    """

    id: str
    rule: str
    service: str
    environment: str
    begins_at: datetime
    ends_at: datetime
    why: str
    created_by: str


class OutboxCount(Struct, frozen=True):
    """How many notices to a receiver are in a state.

    Attributes:
        receiver: Who.
        state: ``waiting``, ``sending``, ``sent``, ``failed`` or ``grouped``.
        notices: How many.
        repeated: How many of them may have been sent twice.
        oldest_s: Age of the oldest that waits, in seconds; 0 where none does.
    """

    receiver: str
    state: str
    notices: int
    repeated: int
    oldest_s: float


class Silences(Struct, frozen=True):
    """An answer.

    Attributes:
        silences: Those that hold, or will, the first to end first.
    """

    silences: list[Silence]


class _Seen(Struct):
    """What of a notice is listed."""

    examples: list[dict[str, Any]] = []


class _Pending(Struct):
    """What of a state is listed."""

    bad_since: datetime | None = None


def fetch_alerts(
    *, state: str | None, service: str | None, rule: str | None, since: datetime, limit: int
) -> Reading[Alerts]:
    """Fetch alerts.

    Args:
        state: In this state only; None for any.
        service: Of this service only; None for any.
        rule: Of this rule only; None for any.
        since: Leave out what was over before.
        limit: How many at most.
    """
    evaluation = yield from fetch_evaluation()
    wanted: dict[str, Any] = {"state": state, "service": service, "rule": rule, "since": since, "limit": limit}
    alerts: list[AlertRow] = []
    if state in {None, "pending"}:
        for row in (yield Statement(query("alerts_pending"), wanted)):
            remembered = json.decode(row["state"], type=_Pending)
            alerts.append(
                AlertRow(
                    id="",
                    rule=row["rule"],
                    state="pending",
                    service=row["service"],
                    environment=row["environment"],
                    subject=row["subject"],
                    since=remembered.bad_since,
                )
            )
    if state != "pending":
        alerts += [_alert(row) for row in (yield Statement(query("alerts_list"), wanted))]
    return Alerts(alerts[:limit], evaluation)


def fetch_alert(alert_id: str) -> Reading[AlertDetail]:
    """Fetch one alert with its changes.

    Args:
        alert_id: Its id, or the beginning of it.

    Raises:
        NotFoundError: There is none.
        UsageError: It is no id, or the beginning of several.
    """
    low, high = id_range(alert_id)
    rows = yield Statement(query("alerts_show"), {"low_id": low, "high_id": high})
    if not rows:
        raise NotFoundError(f"there is no alert {alert_id[:40]}", hint="list them with `clew alerts list`")
    if len(rows) > 1:
        raise UsageError(f"several alerts begin with {alert_id[:40]}", hint="write more of the id")
    changes: list[AlertChange] = []
    for row in (yield Statement(query("alerts_changes"), {"id": rows[0]["id"]})):
        if not changes or changes[-1].number != row["number"]:
            changes.append(AlertChange(row["number"], row["kind"], row["at"], row["muted_by"], []))
        if row["receiver"] is not None:
            changes[-1].deliveries.append(
                Delivery(row["receiver"], row["state"], row["attempts"], row["repeated"], row["sent_at"], row["reason"])
            )
    return AlertDetail(_alert(rows[0]), changes)


def fetch_silences(at: datetime) -> Reading[Silences]:
    """Fetch the silences that hold at a moment, or later."""
    rows = yield Statement(query("silences_active"), {"at": at})
    return Silences([Silence(**row) for row in rows])


def fetch_outbox() -> Reading[list[OutboxCount]]:
    """Fetch how many notices each receiver has had, has to get, and will never get, of the last seven days."""
    rows = yield Statement(query("outbox_counts"), {})
    return [OutboxCount(**row) for row in rows]


def fetch_evaluation() -> Reading[EvaluationStatus]:
    """Fetch how the evaluation is doing."""
    rows = yield Statement(query("alerts_evaluation"), {})
    if not rows:
        return EvaluationStatus(state="off")
    row = {name: value for name, value in rows[0].items() if name not in _OF_EVALUATORS}
    state = "stale" if row["age_s"] > OLD_EVALUATION_S else "degraded" if row["quality"] else "ok"
    return EvaluationStatus(state=state, **row)


def id_range(text: str) -> tuple[str, str]:
    """Return the first and the last UUID that begin with *text*.

    Raises:
        UsageError: No UUID begins so, or it is too short to mean one.

    Example:
        >>> id_range("01934b5c-0a")
        ('01934b5c-0a00-0000-0000-000000000000', '01934b5c-0aff-ffff-ffff-ffffffffffff')
    """
    digits = text.strip().lower().replace("-", "")
    if not 4 <= len(digits) <= 32 or not all(digit in "0123456789abcdef" for digit in digits):
        raise UsageError(
            f"{text[:40]!r} is no id of an alert", hint="write the id that `clew alerts list` shows, or 4 digits of it"
        )
    return _dashed(digits.ljust(32, "0")), _dashed(digits.ljust(32, "f"))


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _alert(row: Row) -> AlertRow:
    notice = bytes(row.pop("notice"))
    row.pop("updated_at")
    seen = json.decode(notice, type=_Seen)
    trace_ids = [str(example["trace_id"]) for example in seen.examples]
    return AlertRow(**row, trace_ids=trace_ids, notice=Raw(notice))

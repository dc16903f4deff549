"""Read what Alertmanager posts to a webhook, and make a small struct of each alert.

Layout, version 4 of Alertmanager's form (what clew reads of it; everything else is ignored)::

    {"version": "4",
     "alerts": [{"status": "firing" | "resolved",
                 "labels": {"alertname": …, "rule": …, "service": …, "severity": …},
                 "annotations": {"summary": …, "value": …, "n": …, "bad": …, "threshold": …},
                 "startsAt": RFC 3339, "endsAt": RFC 3339, year 1 while it is not known,
                 "generatorURL": …, "fingerprint": …}]}

The rules that ``clew alerts export prometheus`` writes have these labels and annotations. Alerts of other rules are read
too: what they do not say is empty or None. A body that is not of this form is refused as a whole, with the first thing
that is wrong: a part of a notification would say that the rest had not been sent. Texts are cut, not refused.

Source:
    https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from msgspec import DecodeError, Meta, Struct, ValidationError, field, json

from clew.alerts.notice import Severity
from clew.dialects.malformed import WireError

__all__ = ["BODY_SCHEMA", "MAX_ALERTS", "ReceivedAlert", "read_alerts"]

MAX_ALERTS: Final = 1000
"""Alerts in one notification; Alertmanager groups them by service."""

MAX_TEXT: Final = 2000
"""Characters of a label or an annotation that are kept."""

VERSION: Final = "4"

_SEVERITIES: Final[dict[str, Severity]] = {
    "critical": "critical",
    "page": "critical",
    "error": "critical",
    "warning": "warning",
    "warn": "warning",
    "info": "info",
    "none": "info",
}
"""What severities are called in rules that people have."""

_ENVIRONMENT_LABELS: Final = ("environment", "deployment_environment", "deployment_environment_name", "env")
_SUBJECT_LABELS: Final = ("subject", "model", "sink")
_PATH: Final = re.compile(r"(.*) - at `(.*)`", re.DOTALL)

Status = Literal["firing", "resolved"]


class ReceivedAlert(Struct, frozen=True, kw_only=True):
    """One alert, as Alertmanager reports it.

    Attributes:
        rule: The rule: the label ``rule``, else ``alertname``.
        title: What is measured, in words; empty where the rule does not say.
        status: Whether it fires or is over.
        severity: How bad it is; ``warning`` where no severity of ours is given.
        service: Which service; empty where none is given.
        environment: Which environment; empty where none is given.
        subject: What of the service, such as a model or a sink; empty for the whole.
        starts_at: When it began to fire, in UTC.
        ends_at: When it was over, in UTC; None while it fires.
        value: What was measured; None where that is not given, or no number.
        threshold: What it was compared with; None likewise.
        low: Lower end of the interval of the value; None likewise.
        n: How many units were looked at; None likewise.
        bad: How many of them were bad; None likewise.
        summary: One line for people; empty where none is given.
        action: What to do; empty where that is not given.
        command: The exact command; empty where none is given.
        runbook: URL of what to do; empty where none is given.
        owner: Who looks after it; empty where the rule does not say.
        fingerprint: Names the alert for Alertmanager: the same for every notification of it.
        source: URL of the expression at Prometheus; empty where none is given.
    """

    rule: str
    title: str = ""
    status: Status
    severity: Severity = "warning"
    service: str = ""
    environment: str = ""
    subject: str = ""
    starts_at: datetime
    ends_at: datetime | None = None
    value: float | None = None
    threshold: float | None = None
    low: float | None = None
    n: int | None = None
    bad: int | None = None
    summary: str = ""
    action: str = ""
    command: str = ""
    runbook: str = ""
    owner: str = ""
    fingerprint: str
    source: str = ""


_Aware = Annotated[datetime, Meta(tz=True)]
_Fingerprint = Annotated[str, Meta(min_length=1, max_length=128)]


class _Alert(Struct):
    """An alert in Alertmanager's form."""

    status: Status
    labels: dict[str, str]
    starts_at: _Aware = field(name="startsAt")
    fingerprint: _Fingerprint
    annotations: dict[str, str] = {}
    ends_at: _Aware | None = field(name="endsAt", default=None)
    source: str = field(name="generatorURL", default="")


class _Body(Struct):
    """A notification in Alertmanager's form."""

    version: str
    alerts: Annotated[list[_Alert], Meta(max_length=MAX_ALERTS)]


_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_TIME: Final = {"type": "string", "format": "date-time"}
BODY_SCHEMA: Final = {
    "type": "object",
    "required": ["version", "alerts"],
    "properties": {
        "version": {"const": VERSION},
        "alerts": {
            "type": "array",
            "maxItems": MAX_ALERTS,
            "items": {
                "type": "object",
                "required": ["status", "labels", "startsAt", "fingerprint"],
                "properties": {
                    "status": {"enum": ["firing", "resolved"]},
                    "labels": _TEXTS,
                    "annotations": _TEXTS,
                    "startsAt": _TIME,
                    "endsAt": _TIME,
                    "generatorURL": {"type": "string"},
                    "fingerprint": {"type": "string"},
                },
            },
        },
    },
}
"""What the body is, for the OpenAPI document."""


def read_alerts(body: bytes) -> list[ReceivedAlert]:
    """Read a notification.

    Args:
        body: What was posted.

    Returns:
        Its alerts, in their order.

    Raises:
        WireError: It is not in Alertmanager's form; the message says what is wrong and where.

    Example:
        >>> alerts = read_alerts(b'''{"version": "4", "alerts": [{"status": "firing", "fingerprint": "c0ffee",
        ...     "labels": {"alertname": "ClewErrorRate", "rule": "error_rate", "service": "rag-api"},
        ...     "annotations": {"value": "0.083", "n": "458"}, "startsAt": "2026-11-30T21:33:00Z"}]}''')
        >>> alerts[0].rule, alerts[0].service, alerts[0].value, alerts[0].n
        ('error_rate', 'rag-api', 0.083, 458)
    """
    try:
        notification = json.decode(body, type=_Body)
    except ValidationError as error:
        raise WireError(f"the body is not a notification of Alertmanager: {_where(str(error))}") from None
    except (DecodeError, RecursionError) as error:
        raise WireError(f"the body is not JSON: {_first_letter_small(str(error))}") from None
    if notification.version != VERSION:
        raise WireError(
            f"the body is version {notification.version[:20]!r} of Alertmanager's notification; clew reads {VERSION!r}"
        )
    return [_read(alert, place) for place, alert in enumerate(notification.alerts)]


def _read(alert: _Alert, place: int) -> ReceivedAlert:
    labels = {name: _clean(text) for name, text in alert.labels.items()}
    notes = {name: _clean(text) for name, text in alert.annotations.items()}
    rule = labels.get("rule") or labels.get("alertname", "")
    if not rule:
        raise WireError(f"the body is not a notification of Alertmanager: alerts[{place}].labels has no alertname")
    starts_at, ends_at = _moment(alert.starts_at), _moment(alert.ends_at)
    if starts_at is None:
        raise WireError(f"the body is not a notification of Alertmanager: alerts[{place}].startsAt is in the year 1")
    return ReceivedAlert(
        rule=rule,
        title=notes.get("title", ""),
        status=alert.status,
        severity=_SEVERITIES.get(labels.get("severity", "").lower(), "warning"),
        service=labels.get("service", ""),
        environment=_first(labels, _ENVIRONMENT_LABELS),
        subject=_first(labels, _SUBJECT_LABELS),
        starts_at=starts_at,
        ends_at=ends_at if alert.status == "resolved" else None,  # of one that fires it is when Prometheus forgets it
        value=_number(notes.get("value", "")),
        threshold=_number(notes.get("threshold", "")),
        low=_number(notes.get("low", "")),
        n=_count(notes.get("n", "")),
        bad=_count(notes.get("bad", "")),
        summary=notes.get("summary", ""),
        action=notes.get("action", ""),
        command=notes.get("command", ""),
        runbook=notes.get("runbook_url", ""),
        owner=labels.get("owner", ""),
        fingerprint=_clean(alert.fingerprint),
        source=_clean(alert.source),
    )


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _clean(text: str) -> str:
    """Return a text on one line, without what no terminal and no database takes, and not too long."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT]).split())


def _moment(moment: datetime | None) -> datetime | None:
    """Return a time in UTC; None for that of the year 1, with which Go writes that there is none."""
    if moment is None or moment.year <= 1:
        return None
    return moment.astimezone(UTC) if moment.year < 9999 else moment.replace(tzinfo=UTC)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(text: str) -> int | None:
    number = _number(text)
    return round(number) if number is not None and 0 <= number <= 1e15 else None


def _where(message: str) -> str:
    """Put the place in front: ``alerts[0].status: expected …`` for ``Expected … - at `$.alerts[0].status```."""
    found = _PATH.fullmatch(message)
    if found is None:
        return _first_letter_small(message)
    place = found[2].removeprefix("$").removeprefix(".")
    return f"{place}: {_first_letter_small(found[1])}" if place else _first_letter_small(found[1])


def _first_letter_small(text: str) -> str:
    return text[:1].lower() + text[1:]

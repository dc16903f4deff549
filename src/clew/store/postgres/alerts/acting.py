"""What people say of alerts: that they look after one, and that they do not want to hear of some for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import psycopg

from clew import clock, ids
from clew.errors import NotFoundError, UsageError
from clew.store.postgres.alerts.listing import AlertDetail, Silence, fetch_alert
from clew.store.postgres.load import query
from clew.store.postgres.reading import read

__all__ = ["EVERY_RULE", "MAX_SILENCE", "acknowledge", "add_silence", "end_silence"]

EVERY_RULE: Final = "*"
"""A silence of this rule is one of all rules."""

MAX_SILENCE: Final = timedelta(days=90)
MAX_TEXT: Final = 1000

Connection = psycopg.Connection[tuple[Any, ...]]


def acknowledge(connection: Connection, alert_id: str, *, by: str = "", note: str = "") -> AlertDetail:
    """Note that somebody looks after an alert: it is not notified again until it is worse, or over.

    Args:
        connection: A connection that may write, in autocommit mode.
        alert_id: The alert, or the beginning of its id.
        by: Who.
        note: What they say.

    Returns:
        The alert as it is then.

    Raises:
        NotFoundError: There is no such alert.
        UsageError: It is over already, or a text is too long.
    """
    found = read(connection, fetch_alert(alert_id))
    row = {"id": found.alert.id, "by": _checked(by, "by"), "note": _checked(note, "note")}
    if not connection.execute(query("alerts_acknowledge"), row).fetchall():
        raise UsageError(f"alert {found.alert.id} is resolved", hint="there is nothing to look after any more")
    return read(connection, fetch_alert(found.alert.id))


def add_silence(
    connection: Connection,
    rule: str,
    *,
    lasts: timedelta,
    why: str,
    service: str = "",
    environment: str = "",
    by: str = "",
) -> Silence:
    """Have nobody notified of some alerts for a while, from now on.

    Args:
        connection: A connection that may write, in autocommit mode.
        rule: Of this rule; ``*`` for every one.
        lasts: For how long, at most 90 days.
        why: The reason, which is shown with every alert that is silenced.
        service: Of this service; empty for any.
        environment: In this environment; empty for any.
        by: Who wants it.

    Raises:
        UsageError: It has no reason, or lasts too long, or not at all.
    """
    if not why.strip():
        raise UsageError("the silence has no reason", hint="say why, so that the next one on call knows")
    if not timedelta(0) < lasts <= MAX_SILENCE:
        raise UsageError("the silence lasts for no time, or for too long", hint="write 30m, 2h or 7d; at most 90d")
    begins = clock.now()
    silence = Silence(
        ids.uuid7(clock.nanoseconds_of(begins)),
        _checked(rule, "rule"),
        _checked(service, "service"),
        _checked(environment, "environment"),
        begins,
        begins + lasts,
        _checked(why, "why"),
        _checked(by, "by"),
    )
    connection.execute(query("silences_insert"), {name: getattr(silence, name) for name in silence.__struct_fields__})
    return silence


def end_silence(connection: Connection, silence_id: str) -> None:
    """End a silence before its time.

    Raises:
        NotFoundError: There is no such silence, or it is over.
    """
    canonical = ids.parse_uuid(silence_id)
    if (
        canonical is None
        or not connection.execute(query("silences_end"), {"id": canonical, "at": clock.now()}).fetchall()
    ):
        raise NotFoundError(f"there is no silence {silence_id[:40]}", hint="list them with `clew alerts silences`")


def _checked(text: str, name: str) -> str:
    if "\x00" in text or len(text) > MAX_TEXT:
        raise UsageError(f"{name} is too long, or holds a NUL", hint=f"use {MAX_TEXT:,} characters at most")
    return text

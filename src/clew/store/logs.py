"""Events by trace, user, time and level, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

from msgspec import Struct

from clew.errors import UsageError
from clew.record import LEVELS
from clew.store.events import PublicEvent, to_public
from clew.store.load import query
from clew.store.paging import Place, check_limit, format_cursor, parse_cursor
from clew.store.reading import Reading, Statement

__all__ = ["LogFilter", "LogPage", "fetch_logs", "parse_level"]


class LogFilter(Struct, frozen=True, kw_only=True):
    """Which events are asked for; None means any.

    Attributes:
        trace_id: Of this trace.
        user_id: On this user's behalf.
        since: At or after this moment.
        until: Before this moment.
        level: Of this level or graver, a name of ``LEVELS``.
    """

    trace_id: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    level: str | None = None


class LogPage(Struct, frozen=True):
    """Some events, the newest first.

    Attributes:
        logs: The events, in the public format.
        next_cursor: Where the next page begins; None when there is none.
    """

    logs: list[PublicEvent]
    next_cursor: str | None


def fetch_logs(wanted: LogFilter, *, limit: int = 100, cursor: str | None = None) -> Reading[LogPage]:
    """Fetch a page of events.

    Args:
        wanted: Which ones.
        limit: How many at most, 1 to ``MAX_LIMIT``.
        cursor: ``next_cursor`` of the page before; None for the first one.

    Raises:
        UsageError: The limit or the cursor is malformed.
    """
    conditions, parameters = _conditions(wanted)
    if cursor is not None:
        place = parse_cursor(cursor)
        # The first condition says the same as the second, in a form that PostgreSQL prunes partitions by.
        conditions.append('"timestamp" <= %(before)s AND ("timestamp", event_id) < (%(before)s, %(before_id)s)')
        parameters |= {"before": place.timestamp, "before_id": place.id}
    sql = query("logs_page").replace("/* conditions */", " AND ".join(conditions) or "true")
    rows = yield Statement(sql, {**parameters, "limit": check_limit(limit) + 1})
    shown = rows[:limit]
    last = Place(shown[-1]["timestamp"], shown[-1]["event_id"]) if len(rows) > limit else None
    return LogPage([to_public(row) for row in shown], format_cursor(last) if last else None)


def parse_level(text: str) -> str:
    """Read the name of a level, in any case.

    Raises:
        UsageError: There is no such level.
    """
    name = text.strip().upper()
    if name not in LEVELS:
        raise UsageError(f"{text[:40]!r} is not a level", hint=f"use one of {', '.join(LEVELS)}")
    return name


def _conditions(wanted: LogFilter) -> tuple[list[LiteralString], dict[str, Any]]:
    conditions: list[LiteralString] = []
    parameters: dict[str, Any] = {}
    if wanted.trace_id is not None:
        conditions.append("trace_id = %(trace_id)s")
        parameters["trace_id"] = wanted.trace_id
    if wanted.user_id is not None:
        conditions.append("user_id = %(user_id)s")
        parameters["user_id"] = wanted.user_id
    if wanted.since is not None:
        conditions.append('"timestamp" >= %(since)s')
        parameters["since"] = wanted.since
    if wanted.until is not None:
        conditions.append('"timestamp" < %(until)s')
        parameters["until"] = wanted.until
    if wanted.level is not None:
        conditions.append("level >= %(level)s")
        parameters["level"] = LEVELS[wanted.level]
    return conditions, parameters

"""Events that a query or a few plain conditions ask for, the newest first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from clew.query.tree import All, Compare, Query
from clew.store.events import PublicEvent, to_public
from clew.store.paging import MAX_LIMIT, PagePosition, format_cursor, parse_cursor
from clew.store.postgres.reading import Reading, Statement
from clew.store.postgres.search.conditions import compile_query, is_indexed, is_look_up, time_bounds
from clew.store.postgres.search.pieces_of_sql import Parameters
from clew.store.postgres.search.walk import Walked, before, walk, with_conditions

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["MAX_NEW", "LogFilter", "LogPage", "fetch_logs", "fetch_many_logs", "fetch_new_logs"]

MAX_NEW = 1000
"""Most events of one look at what is new."""


class LogFilter(Struct, frozen=True, kw_only=True):
    """Which events are asked for; None means any.

    Attributes:
        query: What else must hold, as ``clew.query.parse`` has read it.
        trace_id: Of this trace.
        user_id: On this user's behalf.
        since: At or after this moment.
        until: Before this moment.
        level: Of this level or graver, a name of ``LEVELS``.

    Example:
        >>> LogFilter(user_id="ann").as_query()
        All(parts=(Compare(field='user', path=(), operator='=', values=('ann',), match='whole', at=0),))
    """

    query: Query | None = None
    trace_id: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    level: str | None = None

    def as_query(self) -> All:
        """Say the same in a single tree."""
        parts = (
            Compare("trace", (), "=", (self.trace_id,)) if self.trace_id is not None else None,
            Compare("user", (), "=", (self.user_id,)) if self.user_id is not None else None,
            Compare("timestamp", (), ">=", (self.since,)) if self.since is not None else None,
            Compare("timestamp", (), "<", (self.until,)) if self.until is not None else None,
            Compare("level", (), ">=", (self.level,)) if self.level is not None else None,
            self.query,
        )
        return All(tuple(part for part in parts if part is not None))


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
        limit: How many at most, 1 or more. A page may be shorter, or empty, and yet not the last one when
            little fits and looking for it takes long.
        cursor: ``next_cursor`` of the page before; None for the first one.

    Raises:
        UsageError: The cursor or a value is malformed.
    """
    place = None if cursor is None else parse_cursor(cursor)
    tree = wanted.as_query()
    parameters = Parameters()
    condition = compile_query(tree, parameters)
    if is_indexed(tree):
        asked = {**parameters.values, **before(place), "limit": limit + 1}
        found = Walked((yield Statement(with_conditions("logs_page", condition), asked, is_look_up(tree))), None)
    else:
        since, until = time_bounds(tree)
        start = PagePosition(until, UUID(int=0)) if until and (place is None or until < place.timestamp) else place
        statement = with_conditions("logs_slice", condition)
        found = yield from walk(statement, parameters.values, limit=limit, place=start, since=since)
    shown = found.rows[:limit]
    end = found.place
    if len(found.rows) > limit:
        end = PagePosition(shown[-1]["timestamp"], shown[-1]["event_id"])
    return LogPage([to_public(row) for row in shown], format_cursor(end) if end else None)


def fetch_many_logs(wanted: LogFilter, *, limit: int) -> Reading[LogPage]:
    """Fetch page after page until *limit* events are there or none is left.

    Args:
        wanted: Which ones.
        limit: How many at most; more than a page has may be asked for.

    Raises:
        UsageError: A value is malformed.
    """
    found: list[PublicEvent] = []
    cursor: str | None = None
    while True:
        page = yield from fetch_logs(wanted, limit=min(limit - len(found), MAX_LIMIT), cursor=cursor)
        found += page.logs
        cursor = page.next_cursor
        if cursor is None or len(found) >= limit:
            return LogPage(found, cursor)


def fetch_new_logs(
    wanted: LogFilter, seen: Collection[str], *, recent: timedelta, window: timedelta
) -> Reading[list[PublicEvent]]:
    """Fetch what has come into the store a moment ago, the oldest first, at most ``MAX_NEW``.

    An event comes in after it has happened, and two that come in at once may be committed one after the other. So
    this does not ask for what is later than the last one: it asks for all that came in within the last few seconds, by
    the store's clock, but for those that are known.

    Args:
        wanted: Which events.
        seen: Ids of those that are known.
        recent: How long ago they came in at most.
        window: How long ago they happened, or began, at most.

    Raises:
        UsageError: A value is malformed.
    """
    parameters = Parameters()
    condition = compile_query(wanted.as_query(), parameters)
    asked = {**parameters.values, "seen": list(seen), "recent": recent, "window": window, "limit": MAX_NEW}
    rows = yield Statement(with_conditions("logs_new", condition), asked)
    return [to_public(row) for row in rows]

"""Which events match: the questions of ``clew logs``, ``/api/logs`` and ``/api/logs/follow``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a field's type
from typing import TYPE_CHECKING

from clew.query.tree import Query  # noqa: TC001 - a field's type
from clew.questions.kinds import LEVEL, QUERY, TEXT, TRACE_ID, number
from clew.questions.parameter import InTime, Question, parameter, since, until
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.following import Follower
from clew.store.postgres.logs import LogFilter, LogPage, fetch_logs, fetch_many_logs

if TYPE_CHECKING:
    from clew.store.postgres.reading import Reading

__all__ = ["FollowQuestion", "LogsQuestion", "ManyLogsQuestion", "cursor", "query"]


def query(what: str) -> Query | None:
    """Declare a query in the language of the logs: ``q`` over HTTP, an argument on the command line.

    Args:
        what: What it selects.
    """
    return parameter(QUERY, help=what, example='level>=error stage:retrieval "rate limit"', name="q", option="")


def cursor() -> str | None:
    """Declare where a page begins, for fronts that show a page at a time."""
    return parameter(
        TEXT, help="next_cursor of the page before", example="AAZg5kZkgAAAAAAAAAAAAAAAAAAAAAAH", fronts=("http",)
    )


def _trace_id() -> str | None:
    return parameter(TRACE_ID, help="Of this trace", example="550e8400-e29b-41d4-a716-446655440000", option="--trace")


def _user_id() -> str | None:
    return parameter(TEXT, help="On behalf of this user", example="user-123", option="--user")


def _level() -> str | None:
    return parameter(LEVEL, help="Of this level or above", example="warning")


@dataclass(frozen=True, kw_only=True)
class LogsQuestion(InTime):
    """Events that match, a page of them.

    Attributes:
        query: What must hold of an event; None for anything.
        trace_id: Of this trace; None for any.
        user_id: On behalf of this user; None for any.
        since: At or after this time; None for any.
        until: Before this time; None for any.
        level: Of this level or above, a name of ``LEVELS``; None for any.
        limit: Most events of the page.
        cursor: ``next_cursor`` of the page before; None for the first.
    """

    query: Query | None = query("Which events")
    trace_id: str | None = _trace_id()
    user_id: str | None = _user_id()
    since: datetime | None = since()
    until: datetime | None = until()
    level: str | None = _level()
    limit: int = parameter(number(1, MAX_LIMIT), default=100, help="How many events at most, the newest", example="10")
    cursor: str | None = cursor()

    def filter(self) -> LogFilter:
        """Say which events."""
        return LogFilter(
            query=self.query,
            trace_id=self.trace_id,
            user_id=self.user_id,
            since=self.since,
            until=self.until,
            level=self.level,
        )

    def reading(self) -> Reading[LogPage]:
        """Answer it from the store, the newest event first.

        Raises:
            UsageError: The cursor or a value is malformed.
        """
        return fetch_logs(self.filter(), limit=self.limit, cursor=self.cursor)


@dataclass(frozen=True, kw_only=True)
class ManyLogsQuestion(LogsQuestion):
    """The same, for a front that reads page after page: more events than a page has may be asked for.

    Attributes:
        limit: Most events.
    """

    limit: int = parameter(number(1), default=100, help="How many events at most, the newest", example="10")

    def reading(self) -> Reading[LogPage]:
        """Answer it from the store, the newest event first, page after page.

        Raises:
            UsageError: A value is malformed.
        """
        return fetch_many_logs(self.filter(), limit=self.limit)


@dataclass(frozen=True, kw_only=True)
class FollowQuestion(Question):
    """Events as they come in.

    Attributes:
        query: What must hold of an event; None for anything.
        trace_id: Of this trace; None for any.
        user_id: On behalf of this user; None for any.
        level: Of this level or above; None for any.
        limit: Most events that are there already.
    """

    query: Query | None = query("Which events")
    trace_id: str | None = _trace_id()
    user_id: str | None = _user_id()
    level: str | None = _level()
    limit: int = parameter(
        number(1, MAX_LIMIT), default=10, help="How many events at most that are there already", example="100"
    )

    def follower(self) -> Follower:
        """Begin to follow."""
        return Follower(LogFilter(query=self.query, trace_id=self.trace_id, user_id=self.user_id, level=self.level))

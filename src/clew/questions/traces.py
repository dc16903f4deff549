"""Which traces there are: the questions of ``clew traces``, ``/api/traces``, ``/api/lookup`` and ``/api/spans``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a field's type
from typing import TYPE_CHECKING, Final

from clew.query.tree import Query  # noqa: TC001 - a field's type
from clew.questions.kinds import ANY_ID, SPAN_ID, number
from clew.questions.logs import cursor, query
from clew.questions.parameter import InTime, Question, parameter, since, until
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.logs import LogFilter
from clew.store.postgres.lookup import fetch_by_any_id, find_matches, several_traces
from clew.store.postgres.spans import fetch_span
from clew.store.postgres.traces import TracePage, matching_traces, recent_traces

if TYPE_CHECKING:
    from clew.store.events import PublicEvent
    from clew.store.postgres.lookup import IdMatch
    from clew.store.postgres.reading import Reading
    from clew.store.trace_tree import Summary, Trace

__all__ = ["LookupQuestion", "ManyTracesQuestion", "SpanQuestion", "TraceQuestion", "TracesQuestion", "one_trace"]

_ANY: Final = "Any id of it: trace (UUID or 32 hex digits), span, LangSmith run, W3C span, event, request or session"

_TRACE: Final = "550e8400-e29b-41d4-a716-446655440000"


@dataclass(frozen=True, kw_only=True)
class TracesQuestion(InTime):
    """The latest traces, a page of them.

    Attributes:
        query: What one of its events must match; None for anything.
        since: With an event at or after this time; None for any.
        until: With an event before this time; None for any.
        limit: Most traces of the page.
        cursor: ``next_cursor`` of the page before; None for the first.
    """

    query: Query | None = query("What one of its events must match")
    since: datetime | None = since()
    until: datetime | None = until()
    limit: int = parameter(number(1, MAX_LIMIT), default=50, help="How many traces at most, the newest", example="10")
    cursor: str | None = cursor()

    def reading(self) -> Reading[TracePage]:
        """Answer it from the store, the trace with the newest event first.

        Raises:
            UsageError: The cursor or a value is malformed.
        """
        return self._page(self.limit, self.cursor)

    def _page(self, limit: int, cursor: str | None) -> Reading[TracePage]:
        if self.query is None and self.since is None and self.until is None:
            return recent_traces(limit=limit, cursor=cursor)
        events = LogFilter(query=self.query, since=self.since, until=self.until).as_query()
        return matching_traces(events, limit=limit, cursor=cursor)


@dataclass(frozen=True, kw_only=True)
class ManyTracesQuestion(TracesQuestion):
    """The same, for a front without pages: a short page is gone on from."""

    def reading(self) -> Reading[TracePage]:
        """Answer it from the store: page after page until ``limit`` traces are there or none is left."""
        found: list[Summary] = []
        cursor = self.cursor
        while True:
            page = yield from self._page(self.limit - len(found), cursor)
            found += page.traces
            cursor = page.next_cursor
            if cursor is None or len(found) >= self.limit:
                return TracePage(found, cursor)


@dataclass(frozen=True, kw_only=True)
class TraceQuestion(Question):
    """A whole trace.

    Attributes:
        trace_id: Any id of it.
    """

    trace_id: str = parameter(
        ANY_ID, is_required=True, is_path=True, help=_ANY, example=_TRACE, option="", metavar="ID"
    )

    def any_reading(self) -> Reading[Trace | list[IdMatch]]:
        """Answer it from the store, for a front that can list several traces: the trace, or what the id is the id of.

        Raises:
            NotFoundError: Nothing is known about the id.
        """
        return fetch_by_any_id(self.trace_id)

    def reading(self) -> Reading[Trace]:
        """Answer it from the store.

        Raises:
            NotFoundError: Nothing is known about the id, or it is in several traces.
        """
        return one_trace(self.trace_id)


@dataclass(frozen=True, kw_only=True)
class LookupQuestion(Question):
    """What an id is the id of.

    Attributes:
        id: The id.
    """

    id: str = parameter(ANY_ID, is_required=True, help=_ANY, example=_TRACE)

    def reading(self) -> Reading[list[IdMatch]]:
        """Answer it from the store, the newest first."""
        return find_matches(self.id)


@dataclass(frozen=True, kw_only=True)
class SpanQuestion(Question):
    """The event of one span.

    Attributes:
        span_id: Its id.
    """

    span_id: str = parameter(
        SPAN_ID, is_required=True, is_path=True, help="Its id", example="f4dfc083-7f4b-4b1e-9f3c-0d6c7a1b2c3d"
    )

    def reading(self) -> Reading[PublicEvent]:
        """Answer it from the store.

        Raises:
            NotFoundError: There is no such span.
        """
        return fetch_span(self.span_id)


def one_trace(any_id: str) -> Reading[Trace]:
    """Fetch the one trace that an id leads to.

    Raises:
        NotFoundError: Nothing is known about the id, or it is in several traces.
    """
    found = yield from fetch_by_any_id(any_id)
    if isinstance(found, list):
        raise several_traces(any_id, found)
    return found

"""Traces: one of them whole, or the latest of them in a line each."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from clew.errors import NotFoundError
from clew.store.events import PublicEvent, open_to_public, to_public
from clew.store.paging import PagePosition, format_cursor, parse_cursor
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement
from clew.store.postgres.search.conditions import compile_query, time_bounds
from clew.store.postgres.search.pieces_of_sql import Parameters
from clew.store.postgres.search.walk import before, walk, with_conditions
from clew.store.trace_tree import Summary, Trace, assemble

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from clew.query.tree import Query

__all__ = ["TracePage", "fetch_trace", "matching_traces", "recent_traces"]

MAX_EVENTS = 20_000
"""Most events read of one trace."""

MAX_OUTLINE_EVENTS = 2_000
"""Most events read of one trace for a line in a list."""

SLICE = 2_000
MAX_SLICES = 50


class TracePage(Struct, frozen=True):
    """Some traces, the one with the newest event first.

    Attributes:
        traces: Each in a line.
        next_cursor: Where the next page begins; None when there is none.
    """

    traces: list[Summary]
    next_cursor: str | None


def fetch_trace(trace_id: str) -> Reading[Trace]:
    """Fetch a whole trace, spans that are still running included.

    Args:
        trace_id: A UUID.

    Raises:
        NotFoundError: Nothing is known about it.
    """
    parameters = {"trace_id": trace_id, "limit": MAX_EVENTS + 1}
    # The open ones first: a span that ends between the two questions is in both answers, not in none.
    running = yield Statement(query("trace_open"), parameters, is_look_up=True)
    rows = yield Statement(query("trace_events"), parameters, is_look_up=True)
    events = [open_to_public(row["event"]) for row in running] + [to_public(row) for row in rows[:MAX_EVENTS]]
    if not events:
        raise NotFoundError(
            f"there is no trace {trace_id}",
            hint="it may not have arrived yet (`clew spool status`), or be past its retention",
        )
    return assemble(events, is_truncated=len(rows) > MAX_EVENTS)


def recent_traces(*, limit: int = 50, cursor: str | None = None) -> Reading[TracePage]:
    """Fetch the latest traces.

    The time line is walked backwards; a trace has its place where its newest event is.

    Args:
        limit: How many at most, 1 or more. A page may be shorter and yet not the last one
            when a trace with very many events is in the way.
        cursor: ``next_cursor`` of the page before; None for the first one.

    Raises:
        UsageError: The cursor is malformed.
    """
    start = place = None if cursor is None else parse_cursor(cursor)
    found: dict[UUID, None] = {}
    passed: set[UUID] = set()
    for _ in range(MAX_SLICES):
        rows = yield Statement(query("traces_slice"), {**before(place), "limit": SLICE})
        if start is not None:
            fresh = {row["trace_id"] for row in rows} - passed - found.keys()
            seen = yield Statement(query("traces_seen"), {**before(start), "trace_ids": list(fresh)})
            passed |= {row["trace_id"] for row in seen}
        for row in rows:
            if row["trace_id"] not in passed and row["trace_id"] not in found:
                if len(found) == limit:
                    return (yield from _page(found, place))
                found[row["trace_id"]] = None
            place = PagePosition(row["timestamp"], row["id"])
        if len(rows) < SLICE:
            return (yield from _page(found, None))
    return (yield from _page(found, place))


def matching_traces(wanted: Query, *, limit: int = 50, cursor: str | None = None) -> Reading[TracePage]:
    """Fetch the latest traces that have an event like that.

    A trace has its place where its newest such event is. Spans that are still running are not looked at.

    Args:
        wanted: What one of a trace's events must hold.
        limit: How many at most, 1 or more. A page may be shorter, or empty, and yet not the last one when
            little fits and looking for it takes long.
        cursor: ``next_cursor`` of the page before; None for the first one.

    Raises:
        UsageError: The cursor or a value is malformed.
    """
    chunk = 2 * limit
    start = place = None if cursor is None else parse_cursor(cursor)
    parameters = Parameters()
    condition = compile_query(wanted, parameters)
    since, _ = time_bounds(wanted)
    found: dict[UUID, None] = {}
    passed: set[UUID] = set()
    for _ in range(MAX_SLICES):
        matching = with_conditions("traces_matching", condition)
        rows, reached = yield from walk(matching, parameters.values, limit=chunk, place=place, since=since)
        if start is not None:
            asked = {**parameters.values, **before(start), "trace_ids": list({row["trace_id"] for row in rows})}
            seen = yield Statement(with_conditions("traces_matched", condition), asked)
            passed |= {row["trace_id"] for row in seen}
        for row in rows[:chunk]:
            if row["trace_id"] not in passed and row["trace_id"] not in found:
                if len(found) == limit:
                    return (yield from _page(found, place))
                found[row["trace_id"]] = None
            place = PagePosition(row["timestamp"], row["event_id"])
        if len(rows) <= chunk:
            return (yield from _page(found, reached))
    return (yield from _page(found, place))


def _page(found: Iterable[UUID], place: PagePosition | None) -> Reading[TracePage]:
    summaries = yield from _outlines(list(found))
    return TracePage(summaries, None if place is None else format_cursor(place))


def _outlines(trace_ids: list[UUID]) -> Reading[list[Summary]]:
    """Sum up some traces, in the order given."""
    if not trace_ids:
        return []
    running = yield Statement(query("traces_open"), {"trace_ids": trace_ids}, is_look_up=True)
    rows = yield Statement(
        query("traces_outlines"), {"trace_ids": trace_ids, "limit": MAX_OUTLINE_EVENTS}, is_look_up=True
    )
    events: defaultdict[str, list[PublicEvent]] = defaultdict(list)
    for row in running:
        events[row["event"]["trace_id"]].append(open_to_public(row["event"]))
    for row in rows:
        events[str(row["trace_id"])].append(to_public(row))
    return [
        assemble(events[key], is_truncated=len(events[key]) >= MAX_OUTLINE_EVENTS).summary
        for key in map(str, trace_ids)
        if events[key]
    ]

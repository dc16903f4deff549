"""The index of texts: one for each day, made when the day is over, and one for each hour of today that is.

An index that grows with every event would cut shipping to a quarter (measured: 17,000 events a second instead of 68,000).
Made at once for a whole day it takes 30 µs an event, beside everything else, and the day that is still open is looked
through without it: 1.8 µs an event. It is one of trigrams, for it answers for pieces of words as well as for words.
ADR 0023 has the measurements.

The day that is open gets a partial one, up to the last full hour, which takes the place of that of the hour before. So what is looked
through without is an hour at most; making it costs six seconds an hour, on average, at ten million events a month. A small day does
without. ``search_walk`` cuts its slices where a partial index ends, since PostgreSQL uses one only for what lies within.

``CONCURRENTLY`` keeps out of everyone's way: late events of the day go on coming in. An attempt that was killed
leaves an index that is not valid; it is dropped and made anew.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from clew.store.connect import explained
from clew.store.load import query
from clew.store.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["end_of_part", "index_closed_days", "index_open_days"]

CLOSED_AFTER: Final = timedelta(hours=1)
"""How long after its midnight a day is over: by then most of what was late has come."""

LATE: Final = timedelta(minutes=5)
"""How long after an hour it is taken for full: what comes later grows into the index."""

LEAST_EVENTS: Final = 20_000
"""A day with fewer is looked through faster than anybody notices."""

_Connection = psycopg.Connection[tuple[Any, ...]]


def index_closed_days(connection: _Connection, now: datetime) -> Iterator[str]:
    """Make the index of texts of each day that is over and has none, the newest first.

    Does nothing while another session is at it, or where the extension pg_trgm is missing.

    Args:
        connection: A connection in autocommit mode that may change tables.
        now: The time it is, in UTC.

    Yields:
        The name of each partition when its index is finished. Stop whenever you like.

    Raises:
        StoreError: An index could not be made; the disk may be full.
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        operators = read(connection, _rows("search_operators"))
        if not operators or not read(connection, _rows("search_lock"))[0]["is_ours"]:
            return
        try:
            for day in read(connection, _rows("search_days")):
                if not day["is_valid"] and _date_of(day["name"]) < (now - CLOSED_AFTER).date():
                    _make(connection, day["name"], operators[0]["name"])
                    _drop_parts(connection, day["name"])
                    yield day["name"]
        finally:
            if not connection.closed:
                connection.execute(query("search_unlock"))


def index_open_days(connection: _Connection, now: datetime) -> Iterator[str]:
    """Make the index of texts of the hours that are over, of each day that is not.

    Does nothing while another session is at it, where the extension pg_trgm is missing, and for small days.

    Args:
        connection: A connection in autocommit mode that may change tables.
        now: The time it is, in UTC.

    Yields:
        The name of each index when it is finished. Stop whenever you like.

    Raises:
        StoreError: An index could not be made; the disk may be full.
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        operators = read(connection, _rows("search_operators"))
        if not operators or not read(connection, _rows("search_lock"))[0]["is_ours"]:
            return
        try:
            parts = read(connection, _rows("search_parts"))
            for day in read(connection, _rows("search_days")):
                partition, date_ = day["name"], _date_of(day["name"])
                hour = _full_hours(date_, now)
                name = f"{partition}_texts_h{hour:02}"
                is_there = any(part["name"] == name and part["is_valid"] for part in parts)
                if is_there or hour < 1 or date_ < (now - CLOSED_AFTER).date() or _is_small(connection, partition):
                    continue
                _make(connection, partition, operators[0]["name"], hour=hour)
                _drop_parts(connection, partition, but=name)
                yield name
        finally:
            if not connection.closed:
                connection.execute(query("search_unlock"))


def end_of_part(name: str) -> datetime:
    """Return up to which moment the partial index of a name goes.

    Example:
        >>> end_of_part("events_20261122_texts_h14").isoformat()
        '2026-11-22T14:00:00+00:00'
    """
    partition, _, hour = name.partition("_texts_h")
    return datetime.combine(_date_of(partition), time(), UTC) + timedelta(hours=int(hour))


def _full_hours(day: date, now: datetime) -> int:
    """Count the hours of a day that are full, 24 at most."""
    since = now - LATE - datetime.combine(day, time(), UTC)
    return min(int(since / timedelta(hours=1)), 24) if since > timedelta() else 0


def _is_small(connection: _Connection, partition: str) -> bool:
    rows = read(connection, _rows("search_size", partition=partition))
    return not rows or rows[0]["events"] < LEAST_EVENTS


def _drop_parts(connection: _Connection, partition: str, *, but: str = "") -> None:
    for part in read(connection, _rows("search_parts")):
        if part["partition"] == partition and part["name"] != but:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(part["name"])))


def _rows(name: str, **values: Any) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), values))


def _date_of(partition: str) -> date:
    return datetime.strptime(partition, "events_%Y%m%d").date()  # noqa: DTZ007 - a day of UTC, not a moment


def _make(connection: _Connection, partition: str, schema: str, *, hour: int | None = None) -> None:
    """Make the index of a whole day, or of its hours up to one."""
    name = f"{partition}_texts_idx" if hour is None else f"{partition}_texts_h{hour:02}"
    names = {
        "index": sql.Identifier(name),
        "partition": sql.Identifier(partition),
        "schema": sql.Identifier(schema),
        "where": sql.SQL("") if hour is None else sql.SQL(' WHERE "timestamp" <= {}').format(end_of_part(name)),
    }
    connection.execute(sql.SQL("DROP INDEX IF EXISTS {index}").format(**names))
    make = sql.SQL(
        "CREATE INDEX CONCURRENTLY {index} ON {partition}"
        " USING gin (event_texts(message, error, context) {schema}.gin_trgm_ops){where}"
    )
    connection.execute(make.format(**names))
    # The planner learns how frequent pieces of text are; nothing else would look at a day that is over.
    connection.execute(sql.SQL("ANALYZE {partition}").format(**names))

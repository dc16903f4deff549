"""The index of texts: one for each day, made when the day is over.

An index that grows with every event would cut shipping to a quarter (measured: 17,000 events a second instead of 68,000).
Made at once for a whole day it takes 30 µs an event, beside everything else, and the day that is still open is looked
through without it: 1.8 µs an event. It is one of trigrams, for it answers for pieces of words as well as for words.
ADR 0023 has the measurements.

``CONCURRENTLY`` keeps out of everyone's way: late events of the day go on coming in. An attempt that was killed
leaves an index that is not valid; it is dropped and made anew.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from clew.store.connect import explained
from clew.store.load import query
from clew.store.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["index_closed_days"]

CLOSED_AFTER: Final = timedelta(hours=1)
"""How long after its midnight a day is over: by then most of what was late has come."""

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
                    yield day["name"]
        finally:
            if not connection.closed:
                connection.execute(query("search_unlock"))


def _rows(name: str) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), {}))


def _date_of(partition: str) -> date:
    return datetime.strptime(partition, "events_%Y%m%d").date()  # noqa: DTZ007 - a day of UTC, not a moment


def _make(connection: _Connection, partition: str, schema: str) -> None:
    names = {
        "index": sql.Identifier(f"{partition}_texts_idx"),
        "partition": sql.Identifier(partition),
        "schema": sql.Identifier(schema),
    }
    connection.execute(sql.SQL("DROP INDEX IF EXISTS {index}").format(**names))
    make = sql.SQL(
        "CREATE INDEX CONCURRENTLY {index} ON {partition}"
        " USING gin (event_texts(message, error, context) {schema}.gin_trgm_ops)"
    )
    connection.execute(make.format(**names))
    # The planner learns how frequent pieces of text are; nothing else would look at a day that is over.
    connection.execute(sql.SQL("ANALYZE {partition}").format(**names))

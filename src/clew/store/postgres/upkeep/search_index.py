"""The index of texts: one for each day, made when the day is over. Days that are not have theirs in pieces (``search_pieces``).

An index that grows with every event would cut shipping to a quarter (measured: 17,000 events a second instead of 68,000).
Made at once for a whole day it takes 30 µs an event, beside everything else. It is one of trigrams, for it answers for pieces of words as well as for words.
ADR 0023 has the measurements.

``CONCURRENTLY`` keeps out of everyone's way: late events of the day go on coming in. An attempt that was killed
leaves an index that is not valid; it is dropped and made anew.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from clew.store.postgres.connect import explained
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement, read
from clew.store.postgres.upkeep.search_pieces import CLOSED_AFTER, drop_pieces, make_index

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["index_closed_days"]

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
                    make_index(connection, day["name"], operators[0]["name"], name=f"{day['name']}_texts_idx")
                    # The planner learns how frequent pieces of text are; nothing else would look at a day that is over.
                    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(day["name"])))
                    drop_pieces(connection, day["name"])
                    yield day["name"]
        finally:
            if not connection.closed:
                connection.execute(query("search_unlock"))


def _rows(name: str, **values: Any) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), values))


def _date_of(partition: str) -> date:
    return datetime.strptime(partition, "events_%Y%m%d").date()  # noqa: DTZ007 - a day of UTC, not a moment

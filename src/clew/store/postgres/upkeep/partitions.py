"""The day partitions of ``events``.

The sink makes a day's partition when the first event of that day comes by. Making the next days'
ahead of time keeps that off the first batch after midnight.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clew.store.postgres.connect import explained
from clew.store.postgres.load import query

if TYPE_CHECKING:
    from datetime import date

    import psycopg

__all__ = ["ensure_ahead"]


def ensure_ahead(connection: psycopg.Connection[tuple[Any, ...]], today: date, *, days: int = 2) -> None:
    """Make the partitions from *today* to *days* later; those that are there stay as they are.

    Args:
        connection: A connection in autocommit mode.
        today: The day it is, in UTC.
        days: How many days ahead.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        for ahead in range(days + 1):
            connection.execute(query("ensure_partition"), {"day": today + timedelta(days=ahead)})

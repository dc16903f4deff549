"""Hand events out in bulk, the oldest first, without keeping them in memory.

PostgreSQL runs the statement once and hands rows over as they are asked for (a cursor of the server's), so the size of the answer matters
to nobody but the disk it goes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.rows import dict_row

from clew.store.events import to_public
from clew.store.postgres.connect import explained
from clew.store.postgres.search.conditions import compile_query
from clew.store.postgres.search.pieces_of_sql import Parameters
from clew.store.postgres.search.walk import with_conditions

if TYPE_CHECKING:
    from collections.abc import Generator

    import psycopg

    from clew.store.events import PublicEvent
    from clew.store.postgres.logs import LogFilter

__all__ = ["export_events"]

ROWS_AT_ONCE: Final = 2_000


def export_events(connection: psycopg.Connection[tuple[Any, ...]], wanted: LogFilter) -> Generator[PublicEvent]:
    """Read every event like that, the oldest day first.

    Args:
        connection: A connection that may read; one transaction is open on it until the last event.
        wanted: Which events.

    Yields:
        Events in the public format, in the order of their time.

    Raises:
        UsageError: A value is malformed.
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    parameters = Parameters()
    statement = with_conditions("export_events", compile_query(wanted.as_query(), parameters))
    with (
        explained(connection.info.dsn),
        connection.transaction(),
        connection.cursor("clew_export", row_factory=dict_row) as cursor,
    ):
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(statement, parameters.values)
        for row in cursor:
            yield to_public(row)

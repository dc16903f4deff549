"""Replace the partial sums of minutes that are over by their sums.

What: each batch adds rows to ``rollups``; when a minute is over, one row for each set of values takes their place.
Why: an agent that ships 30 batches a second leaves thousands of rows a minute, and a day is to be read in
milliseconds.

One transaction a minute: it deletes what it sees and inserts the sums of what it has deleted. A row that comes in
meanwhile is not seen, stays, and is for the next time; a reader sees the rows of before or those of after. So nothing
is lost or counted twice, whoever is killed, and however many do it at once. Those who do it at once wait for each
other: one who has looked before another's sums were there would leave sums of its own beside them.

The ledger is treated the same way, by the day: every few minutes what has come in, and all of a day when it is over.
There, requests that used the same are put together under one pattern, which says how many they are; what each used stays
known for ``LATE_FOR``, so that late events take a request out of its pattern again (ADR 71).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from clew.store.postgres.connect import explained
from clew.store.postgres.load import query

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = ["compact", "compact_ledger"]

OVER_AFTER: Final = timedelta(seconds=90)
"""How long after its beginning a minute is taken for over: most of its events have come by then."""

DAY_OVER_AFTER: Final = timedelta(hours=2)
"""How long after its end a day is taken for over."""

LATE_FOR: Final = timedelta(days=31)
"""How long after its day something of a request may still come: as long as partitions are made for late events."""

MINUTES_A_RUN: Final = 2000
"""Minutes that are looked up at a time."""


def compact(connection: psycopg.Connection[tuple[Any, ...]], now: datetime | None = None) -> Iterator[datetime]:
    """Replace the partial sums of minutes that are over, the oldest first.

    Args:
        connection: A connection in autocommit mode that may change tables.
        now: The time it is; by default the clock's.

    Yields:
        Each minute when it is done. Stop whenever you like.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    before = (now or datetime.now(UTC)) - OVER_AFTER
    while True:
        with explained(connection.info.dsn):
            found = connection.execute(query("rollup_minutes"), {"before": before, "limit": MINUTES_A_RUN}).fetchall()
        for (minute,) in found:
            with explained(connection.info.dsn), connection.transaction():
                connection.execute(query("rollup_lock"))
                connection.execute(query("rollup_compact"), {"minute": minute})
            yield minute
        if len(found) < MINUTES_A_RUN:
            return


def compact_ledger(connection: psycopg.Connection[tuple[Any, ...]], now: datetime | None = None) -> Iterator[object]:
    """Replace what has come into the ledger by its sums, the oldest day first.

    Args:
        connection: A connection in autocommit mode that may change tables.
        now: The time it is; by default the clock's.

    Yields:
        Each day when it is done. Stop whenever you like.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    today = ((now or datetime.now(UTC)) - DAY_OVER_AFTER).date()
    with explained(connection.info.dsn):
        for (day,) in connection.execute(query("ledger_days")).fetchall():
            with connection.transaction():
                connection.execute(query("rollup_lock"))
                connection.execute(query("ledger_late"), {"day": day})
                connection.execute(query("ledger_compact"), {"day": day, "today": today})
            yield day
        connection.execute(query("ledger_forget"), {"before": today - LATE_FOR})

"""Erase a person from the store, down to the bytes of its files.

Deleted rows stay in a table's file until it is rewritten, in its statistics until it is looked at anew, and in the log of
changes until that is dropped. So, after the rows: the partitions that held some are rewritten (``VACUUM FULL``), looked at anew
(``ANALYZE``), the catalogue of statistics is rewritten, and the log is switched and checkpointed. The last two need a superuser,
which the embedded server's user is; elsewhere they are left to the server's own pace, and told so.

Rows go by the user's id and by traces that are theirs alone: those in which no other user has a part.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from msgspec import Struct, json
from psycopg import errors, sql

from clew.store.connect import explained
from clew.store.events import format_timestamp
from clew.store.load import query
from clew.store.reading import Reading, Statement, read

__all__ = ["Found", "Mention", "count_theirs", "erase_from_store"]

EVENTS_AT_ONCE: Final = 5_000

_Connection = psycopg.Connection[tuple[Any, ...]]


class Mention(Struct, frozen=True):
    """An event of somebody else that names a person.

    Attributes:
        event_id: Its id.
        timestamp: When; RFC 3339.
        message: Its message.
        service: Its service.
    """

    event_id: str
    timestamp: str
    message: str
    service: str


class Found(Struct):
    """What the store holds of a person.

    Attributes:
        partitions: Events by partition: theirs, and those of traces that are theirs alone.
        open_spans: Spans of theirs that have not ended.
        traces: Traces that are theirs alone.
        mentions: Events of others that name them as a text of its own.
    """

    partitions: dict[str, int]
    open_spans: int
    traces: list[str]
    mentions: list[Mention]

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(self.partitions.values())


def count_theirs(connection: _Connection, user_id: str, *, with_mentions: bool) -> Found:
    """Count what is there of a person.

    Args:
        connection: A connection that may read.
        user_id: The person.
        with_mentions: Count events of others that name them among theirs.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        traces = [str(row["trace_id"]) for row in read(connection, _rows("erasure_traces", user=user_id))]
        mentions = _mentions(connection, user_id, traces)
        values = {"user": user_id, "traces": traces, "events": []}
        values |= {"events": [mention.event_id for mention in mentions]} if with_mentions else {}
        rows = read(connection, _rows("erasure_partitions", **values))
        [spans] = read(connection, _rows("erasure_open_count", **values))
    return Found({row["name"]: row["events"] for row in rows}, spans["spans"], traces, mentions)


def erase_from_store(connection: _Connection, user_id: str, found: Found, *, with_mentions: bool) -> list[str]:
    """Erase a person, and what is left of them in the files.

    Args:
        connection: A connection in autocommit mode that may change tables.
        user_id: The person.
        found: What there is, of ``count_theirs``.
        with_mentions: Erase events of others that name them too.

    Returns:
        What could not be done here, each in a line for people; empty when all was.

    Raises:
        StoreError: A table could not be rewritten.
        StoreUnreachable: The server is gone. Doing it again goes on.
    """
    values = {"user": user_id, "traces": found.traces, "limit": EVENTS_AT_ONCE}
    values |= {"events": [mention.event_id for mention in found.mentions] if with_mentions else []}
    with explained(connection.info.dsn):
        while connection.execute(query("erasure_remove"), values).rowcount:
            pass
        connection.execute(query("erasure_open"), values)
        connection.execute(query("erasure_notes"), values)
        for name in [*found.partitions, "open_spans", "pins", "retention_kept"]:
            connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(name)))
        connection.execute("ANALYZE events")
        return _clear_the_rest(connection)


def _mentions(connection: _Connection, user_id: str, traces: list[str]) -> list[Mention]:
    quoted = json.encode(user_id).decode()
    rows = read(connection, _rows("erasure_mentions", user=user_id, quoted=quoted, traces=traces))
    return [
        Mention(str(row["event_id"]), format_timestamp(row["timestamp"]), row["message"], row["service"])
        for row in rows
    ]


def _clear_the_rest(connection: _Connection) -> list[str]:
    """Clear statistics and the log of changes, as far as we may."""
    left: list[str] = []
    try:
        connection.execute("VACUUM FULL pg_catalog.pg_statistic")
    except (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState):
        left.append("statistics of columns may hold the id until the server's next ANALYZE and VACUUM of pg_statistic")
    try:
        for _ in range(2):  # the checkpoint before last is what the server can still recover from
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
    except errors.InsufficientPrivilege:
        left.append("the server's log of changes (WAL) holds deleted rows until it is recycled or archived")
    return left


def _rows(name: str, **values: Any) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), values))

"""Erase a person from the store, down to the bytes of its files.

Deleted rows stay in a table's file until it is rewritten, in its statistics until it is looked at anew, and in the log of
changes until that is dropped. So, after the rows: the partitions that held some are rewritten (``VACUUM FULL``), looked at anew
(``ANALYZE``), the catalogue of statistics is rewritten, and the log is switched and checkpointed. The last two need a superuser,
which the embedded server's user is; elsewhere they are left to the server's own pace, and the caller is informed.

Rows go by the user's id, and by traces that are theirs alone, in which no other user has a part: of these everything that names no
user. Most events of a trace do not name one, so with the last that does nobody could say whose they were. Hence a note before
anything is removed: which traces, and which tables are to be rewritten. Who comes after a kill, or when more of these traces has
arrived, goes on from there (``erased_traces``, ``erasure_rewrites``). It is kept as long as warm events are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import Struct, json
from psycopg import errors, sql

from clew.store.events import format_timestamp
from clew.store.postgres.connect import explained
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Found", "Mention", "begin_erasure", "condemned", "count_theirs", "erase_from_store"]

_SMALL: Final = ("cursors", "events_default", "ledger", "ledger_requests", "open_spans", "pins", "retention_kept")
"""Tables that are rewritten in any case: rows come and go in them."""

_REMOVE: Final = sql.SQL(
    "DELETE FROM {} WHERE user_id = %(user)s OR trace_id = ANY(%(traces)s) AND user_id IS NULL OR event_id = ANY(%(events)s)"
)
"""A partition at a time: one look at it, and what a kill undoes is no more than that."""

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


def count_theirs(
    connection: _Connection,
    user_id: str,
    *,
    with_mentions: bool,
    traces: Collection[str] = (),
    shared: Collection[str] = (),
) -> Found:
    """Count what is there of a person.

    Args:
        connection: A connection that may read.
        user_id: The person.
        with_mentions: Count events of others that name them among theirs.
        traces: Traces in which they are known to have a part, by what is not in the store.
        shared: Traces in which others are known to have a part, by what is not in the store.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        rows = read(connection, _rows("erasure_traces", user=user_id, traces=list(traces)))
        alone = [trace for trace in (str(row["trace_id"]) for row in rows) if trace not in shared]
        mentions = _mentions(connection, user_id, alone)
        values = {"user": user_id, "traces": alone, "events": []}
        values |= {"events": [mention.event_id for mention in mentions]} if with_mentions else {}
        rows = read(connection, _rows("erasure_partitions", **values))
        [spans] = read(connection, _rows("erasure_open_count", **values))
    return Found({row["name"]: row["events"] for row in rows}, spans["spans"], alone, mentions)


def begin_erasure(connection: _Connection, found: Found) -> None:
    """Note what is about to be erased, so that it can be gone on from.

    Args:
        connection: A connection in autocommit mode that may change tables.
        found: What there is, of ``count_theirs``.

    Raises:
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        connection.execute(query("erasure_begin"), {"traces": found.traces, "tables": [*found.partitions, *_SMALL]})


def condemned(connection: _Connection) -> list[str]:
    """List the traces that were erased or are about to be, whosever they were.

    Raises:
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        return [str(row["trace_id"]) for row in read(connection, _rows("erasure_condemned"))]


def erase_from_store(connection: _Connection, user_id: str, found: Found, *, with_mentions: bool) -> list[str]:
    """Erase a person, and what is left of them in the files.

    Args:
        connection: A connection in autocommit mode that may change tables.
        user_id: The person.
        found: What there is, of ``count_theirs``; ``begin_erasure`` has been called with it.
        with_mentions: Erase events of others that name them too.

    Returns:
        What could not be done here, each in a line for people; empty when all was.

    Raises:
        StoreError: A table could not be rewritten.
        StoreUnreachable: The server is gone. Doing it again goes on.
    """
    values: dict[str, Any] = {"user": user_id, "traces": found.traces}
    values |= {"events": [mention.event_id for mention in found.mentions] if with_mentions else []}
    with explained(connection.info.dsn):
        while tables := [row["name"] for row in read(connection, _rows("erasure_partitions", **values))]:
            connection.execute(query("erasure_begin"), {"traces": [], "tables": tables})  # more may have come meanwhile
            for table in tables:
                connection.execute(_REMOVE.format(sql.Identifier(table)), values)
        connection.execute(query("erasure_open"), values)
        connection.execute(query("erasure_notes"), values)
        with connection.transaction():
            connection.execute(query("rollup_lock"))  # who adds rows up would put back what it has read before
            connection.execute(query("erasure_ledger"), values)
        connection.execute(query("flush_statistics"))
        left = [
            f"the table {name} may not be rewritten by this user of the server: its file holds deleted rows"
            for name in (row["name"] for row in read(connection, _rows("erasure_rewrites")))
            if not _rewrite(connection, name)
        ]
        connection.execute("ANALYZE events")
        return left + _clear_the_rest(connection)


def _mentions(connection: _Connection, user_id: str, traces: list[str]) -> list[Mention]:
    quoted = json.encode(user_id).decode()
    rows = read(connection, _rows("erasure_mentions", user=user_id, quoted=quoted, traces=traces))
    return [
        Mention(str(row["event_id"]), format_timestamp(row["timestamp"]), row["message"], row["service"])
        for row in rows
    ]


def _rewrite(connection: _Connection, name: str) -> bool:
    """Rewrite a table, and note it; false if we may not, which the server says by a warning."""
    if not _vacuum(connection, sql.Identifier(name)):
        return False
    connection.execute(query("erasure_rewritten"), {"name": name})
    return True


def _vacuum(connection: _Connection, table: sql.Identifier) -> bool:
    warnings: list[str] = []

    def note(diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(diagnostic.message_primary or "")

    connection.add_notice_handler(note)
    try:
        connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(table))
    finally:
        connection.remove_notice_handler(note)
    return not warnings


def _clear_the_rest(connection: _Connection) -> list[str]:
    """Clear statistics and the log of changes, as far as we may."""
    left: list[str] = []
    try:
        is_cleared = _vacuum(connection, sql.Identifier("pg_catalog", "pg_statistic"))
    except (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState):
        is_cleared = False
    if not is_cleared:
        left.append("statistics of columns may hold the id until the server's next ANALYZE and VACUUM of pg_statistic")
    [copies] = read(connection, _rows("erasure_copies"))
    try:
        for _ in range(2):  # the checkpoint before last is what the server can still recover from
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        if copies["is_recycled"]:
            left.append("the server uses files of its log of changes (WAL) again as they are: set wal_recycle to off")
    except errors.InsufficientPrivilege:
        left.append("the server's log of changes (WAL) holds deleted rows until it is recycled or archived")
    if copies["is_archived"]:
        left.append("the server archives its log of changes (WAL): the archive holds deleted rows")
    if copies["is_replicated"]:
        left.append(
            "the server has replicas or replication slots: the log of changes (WAL) waits for them, and backups stay"
        )
    return left


def _rows(name: str, **values: Any) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), values))

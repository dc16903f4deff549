"""PostgreSQL: every event exactly once.

A batch goes in by one binary ``COPY``, and the sink's cursor moves in the same transaction, from where the batch
begins and from nowhere else: a crash, a lost answer, a replay or a server that has become an older one can neither lose
nor repeat an event, and the hot table needs no unique index for it. Spans that have begun and not ended are in
``open_spans`` meanwhile. What the batch adds to the roll-ups goes in with it (``measures.minutes``), and so does what is
remembered of open spans for that.

Before: ``agent.worker``. After: the tables of ``store/postgres/sql/schema.sql``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from msgspec import DecodeError, Struct, ValidationError, json, msgpack
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from clew.errors import StoreError, StoreNotMigrated
from clew.measures import minutes
from clew.measures.counting import VERDICT_COLUMNS, Followed
from clew.measures.ledger import LEDGER_COLUMNS
from clew.measures.minutes import Rollups, Tally
from clew.sinks.base import Batch, Delivered, Moved, Outcome, Producer, RecordMark, Rejected, Retry, Standing
from clew.spool.cursor import Counts
from clew.spool.format import HEADER_BYTES, Position, event_id, position_of
from clew.store.postgres.connect import is_refusal
from clew.store.postgres.load import query
from clew.store.postgres.rows import COLUMNS, Sorter, late_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["PostgresSink"]

CONNECT_TIMEOUT_S = 5
KEEPALIVE: Final[dict[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A peer that is gone without a word is noticed within half a minute (libpq's own words; the last in ms)."""
PARTITION_PAST = timedelta(days=31)
PARTITION_AHEAD = timedelta(days=2)
JSONB_OID = 3802
EMPTY_GRACE_S: Final = 10.0
"""How long a database that has become empty is left alone: between `createdb` and the first table of `pg_restore`."""
ERASED: Final = "event_erased"
"""The message of what stands in the place of an event that was erased (see ``delivery.erasure``)."""
FIRST_RECORD: Final = position_of(1, HEADER_BYTES)
POSITION_MASK: Final = (1 << 48) - 1
MAX_FOLLOWED = 1000
"""Producers whose open spans are remembered here; those of others are read from the store again."""

_Connection = psycopg.Connection[tuple[Any, ...]]
_Cursor = psycopg.Cursor[tuple[Any, ...]]

_COLUMNS = (*COLUMNS, *VERDICT_COLUMNS)
_TYPES = [kind for _, kind in _COLUMNS]
_SUM_TYPES = [kind for _, kind in minutes.COLUMNS]
_LEDGER_TYPES = [kind for _, kind in LEDGER_COLUMNS]
_COPY = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
# Composed once: it takes as long as a small batch needs for its rows.
_COPY_EVENTS, _COPY_SUMS, _COPY_LEDGER = (
    _COPY.format(sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)).as_bytes()
    for table, columns in (("events", _COLUMNS), ("rollups", minutes.COLUMNS), ("ledger", LEDGER_COLUMNS))
)
_MISCONFIGURED = ("28", "3D", "42", "0A")  # SQLSTATE classes: authorisation, no such database, no such table or right
_DATA = ("22", "23", "54")  # SQLSTATE classes: the data itself is refused, 54 because it is too large for an index


class _JsonbDumper(Dumper):
    """Hand JSON text to a jsonb column as it is; binary jsonb is a version byte and the text."""

    oid = JSONB_OID
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """Return the binary form of *obj*, JSON text in UTF-8."""
        return b"\x01" + bytes(obj)


class _NewDaysError(Exception):
    """Events are of *days* that no partition was made for yet."""

    def __init__(self, days: set[date]) -> None:
        super().__init__(days)
        self.days = days


class _MovedError(Exception):
    """The cursor is not where a batch begins."""


class _RefusedError(Exception):
    """Some of a batch's events cannot be stored."""

    def __init__(self, sorter: Sorter) -> None:
        super().__init__(sorter.reason)
        self.outcome = Rejected(tuple(sorter.refused), sorter.reason)


class _Identity(Struct):
    """As much of an event as identifies it."""

    timestamp: datetime
    message: str = ""


_decode_identity = json.Decoder(_Identity).decode
_decode_followed = msgpack.Decoder(Followed).decode


class PostgresSink:
    """Deliver events to PostgreSQL.

    Args:
        dsn: The server, as a libpq URL or key-value string.
        prepare: Called with the DSN whenever a new connection is made, to bring the schema up
            to date: it may be a database that was restored meanwhile; may raise ``StoreError`` or ``psycopg.Error``.

    Attributes:
        name: ``"postgres"``.
    """

    name = "postgres"
    max_events = 5000  # a backlog goes in a third faster than by thousands; what has just come is never waited for
    max_bytes = 4 * 1024 * 1024
    linger_s = 0.0

    def __init__(self, dsn: str, *, prepare: Callable[[str], object] | None = None) -> None:
        self._dsn = dsn
        self._prepare = prepare
        self._was_prepared = False
        self._empty_since: float | None = None
        self._connection: _Connection | None = None
        self._days: set[date] = set()
        self._rollups = Rollups()
        self._followed: dict[str, Followed] = {}

    def resume(self, producer: Producer) -> Position | None:
        """Read the cursor that was committed with the data; None when the server has none or is away."""
        try:
            row = self._connect().execute("SELECT position FROM cursors WHERE producer = %s", [producer.id]).fetchone()
        except (psycopg.Error, StoreError):
            self._disconnect()
            return None
        return Position(row[0]) if row else None

    def deliver(self, batch: Batch) -> Outcome:
        """Store *batch* and move the cursor, in one transaction."""
        try:
            connection = self._connect()
            while True:
                try:
                    with connection.transaction(), connection.cursor() as cursor:
                        followed = self._store(cursor, batch)
                    break
                except _NewDaysError as new:
                    self._make_partitions(connection, new.days)
        except _RefusedError as refused:
            return refused.outcome
        except _MovedError:
            self._days.clear()  # it may be another database by now
            return Moved()
        except StoreError as error:
            return Retry(str(error), is_misconfigured=isinstance(error, StoreNotMigrated))
        except psycopg.Error as error:
            return self._judge(error, batch)
        self._followed[batch.producer.id] = followed
        return Delivered()

    def standings(self, producers: Sequence[str], *, is_final: bool = False) -> dict[str, list[Standing]] | None:
        """Read the cursors that were committed with the data, by producer; None when the server is away.

        Args:
            producers: Whose.
            is_final: Wait for what other agents may be committing, on the primary.
        """
        ids = list(producers)
        # That a connection broke says nothing of the store: it may have been put back from a backup, and be there.
        standings = query("sink_standings")
        for is_last in (self._connection is None, True):
            found: dict[str, list[Standing]] = {}
            try:
                connection = self._connect()
                if not is_final:
                    connection.execute(query("sink_stay"), [ids])
                rows = connection.execute(
                    standings + " FOR SHARE" if is_final else standings, {"producers": ids}
                ).fetchall()
            except (psycopg.Error, StoreError):
                self._disconnect()
                if is_last:
                    break
                continue
            for log, *row in rows:
                found.setdefault(log, []).append(_standing(row))
            return found
        return None

    def step_back(self, standing: Standing, position: Position, counts: Counts) -> bool:
        """Move the cursor that was committed with the data back; false if the server is away, or the cursor elsewhere."""
        try:
            values = [position, *counts, standing.producer, standing.position]
            return self._connect().execute(query("sink_step_back"), values).rowcount == 1
        except (psycopg.Error, StoreError):
            self._disconnect()
            return False

    def last_held(self, producers: Sequence[str], events: Iterable[tuple[Position, bytes]]) -> Position | None:
        """Return the position of the last of some events that the store has, by id, time and message; None for none.

        Raises:
            ConnectionError: The server is away.
        """
        marks = {position: mark for position, payload in events if (mark := _read_identity(payload)) is not None}
        erased = [position for position, mark in marks.items() if mark.message == ERASED]
        if not marks:
            return None
        bases = [UUID(producer).int for producer in producers]
        ids = [UUID(int=event_id(base, position)) for base in bases for position in marks]
        times = [mark.timestamp for mark in marks.values()]
        try:
            rows = self._connect().execute(query("sink_held"), [ids, min(times), max(times)]).fetchall()
        except (psycopg.Error, StoreError) as error:
            self._disconnect()
            raise ConnectionError(str(error)) from error
        held = {(id_.int & POSITION_MASK, at, message) for id_, at, message in rows}
        same = [position for position, mark in marks.items() if (position, mark.timestamp, mark.message) in held]
        return max([*same, *erased], default=None)

    def interrupt(self) -> None:
        """Give up the attempt under way: its connection is cut, and it ends as one that may be tried again.

        Threads:
            Called by another thread than the worker's, when a server takes the connection and says nothing.
        """
        connection = self._connection
        with contextlib.suppress(OSError, psycopg.Error):
            if connection is not None and not connection.closed:
                with socket.socket(fileno=os.dup(connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()

    def _connect(self) -> _Connection:
        if self._connection is None or self._connection.closed:
            self._connection = None
            if self._prepare is not None and not self._was_prepared:
                self._prepare(self._dsn)
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="clew-agent",
                **KEEPALIVE,
            )
            connection.adapters.register_dumper(bytes, _JsonbDumper)
            connection.execute("SET synchronous_commit = on")
            if self._prepare is not None and self._was_prepared:
                self._prepare_again(connection, self._prepare)
            self._was_prepared = True
            self._days.clear()
            self._connection = connection
        return self._connection

    def _prepare_again(self, connection: _Connection, prepare: Callable[[str], object]) -> None:
        """Bring a store up to date that may be another one by now, but leave an empty one to a restore for a while.

        Raises:
            StoreNotMigrated: It holds nothing: whoever restores a backup into it is to find it so.
        """
        [is_there] = connection.execute("SELECT to_regclass('cursors') IS NOT NULL").fetchone() or (False,)
        now = time.monotonic()
        self._empty_since = None if is_there else self._empty_since or now
        if self._empty_since is not None and now - self._empty_since < EMPTY_GRACE_S:
            connection.close()
            raise StoreNotMigrated(
                f"the store has become empty; it is filled from the spool if it stays so for {EMPTY_GRACE_S:.0f} s"
            )
        self._empty_since = None
        prepare(self._dsn)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _follow(self, cursor: _Cursor, producer: Producer, position: Position) -> Followed:
        """Return what is remembered of the spans that are open at a position.

        It is taken out of the memory of this sink, and put back when what it leads to is committed.
        """
        followed = self._followed.pop(producer.id, None)
        while len(self._followed) >= MAX_FOLLOWED:
            del self._followed[next(iter(self._followed))]
        if followed is None or followed.position != position:
            row = cursor.execute(query("sink_measured"), [producer.id]).fetchone()
            followed = _decode_followed(row[0]) if row and row[0] else Followed()
        return followed if followed.position == position else Followed(position)

    def _store(self, cursor: _Cursor, batch: Batch) -> Followed:
        """Put everything in that *batch* adds; return what is remembered of the spans that are open behind it.

        Raises:
            _MovedError: The cursor is not where the batch begins.
            _NewDaysError: There may be no partition for some of the events.
            _RefusedError: Some of the events cannot be stored.
        """
        committed = cursor.execute(query("sink_cursor"), [batch.producer.id]).fetchone()
        # The answer to an earlier attempt may have been lost, and its commit not: then it is within the batch.
        start = Position(committed[0]) if committed else batch.start
        is_there = batch.start <= start <= batch.end if committed else start <= max(batch.producer.begins, FIRST_RECORD)
        if not is_there:
            raise _MovedError
        followed = self._follow(cursor, batch.producer, start)
        tally = self._rollups.begin(followed)
        sorter = Sorter(batch, start, tally)
        self._copy_events(cursor, sorter)
        if tally.corrections:
            self._correct(cursor, batch.producer, tally)
        if sums := tally.rows():
            with cursor.copy(_COPY_SUMS) as copy:
                copy.set_types(_SUM_TYPES)
                for row in sums:
                    copy.write_row(row)
        if page := tally.ledger.rows():
            with cursor.copy(_COPY_LEDGER) as copy:
                copy.set_types(_LEDGER_TYPES)
                for row in page:
                    copy.write_row(row)
            cursor.execute(query("sink_separate"), [tally.ledger.traces()])
        if sorter.begun:
            cursor.executemany(query("sink_open_span"), list(sorter.begun.values()))
        if sorter.ended:
            cursor.execute(query("sink_close_spans"), [sorter.ended])
        for late in sorter.late:
            cursor.execute(query("sink_add_beginning"), late_values(late))
        followed.position = max(followed.position, batch.end)
        values = _cursor_values(batch, sorter.taken, followed)
        if not cursor.execute(query("sink_move") if committed else query("sink_begin"), values).rowcount:
            raise _MovedError  # another agent, which was taken for dead, has begun the log at this very moment
        return followed

    def _correct(self, cursor: _Cursor, producer: Producer, tally: Tally) -> None:
        """Take away from events that are stored what inner ones, reported later, have taken over."""
        number = UUID(producer.id).int
        for place, amounts in ((correction.place, correction.amounts) for correction in tally.corrections):
            cursor.execute(
                query("sink_correct"), [*amounts, place.begun, UUID(int=event_id(number, Position(place.position)))]
            )

    def _copy_events(self, cursor: _Cursor, sorter: Sorter) -> None:
        slices = sorter.slices()
        with cursor.copy(_COPY_EVENTS) as copy:
            copy.set_types(_TYPES)
            for rows in slices:
                if sorter.refused:
                    for _ in slices:  # all that are to be quarantined, at once
                        pass
                    raise _RefusedError(sorter)
                if new := self._new_days(rows):
                    raise _NewDaysError(new)
                for row in rows:
                    copy.write_row(row)

    def _new_days(self, rows: list[tuple[Any, ...]]) -> set[date]:
        """Return the days of *rows* that a clock can mean and no partition was made for; the rest has the default one."""
        days = {row[0].date() for row in rows} - self._days
        if not days:
            return days
        now = datetime.now(UTC)
        first, last = (now - PARTITION_PAST).date(), (now + PARTITION_AHEAD).date()
        return {day for day in days if first <= day <= last}

    def _make_partitions(self, connection: _Connection, days: set[date]) -> None:
        """Have a partition for each of *days*, in transactions of their own."""
        for day in sorted(days):
            connection.execute("SELECT ensure_partition(%s)", [day])
            self._days.add(day)

    def _judge(self, error: psycopg.Error, batch: Batch) -> Outcome:
        """Return what an error means for the batch."""
        state = error.sqlstate or ""
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else state}"
        if state.startswith(_DATA):
            return Rejected(tuple(range(len(batch.events))), reason)
        was_refused = self._connection is None and is_refusal(error, self._dsn)
        self._disconnect()
        return Retry(reason, is_misconfigured=was_refused or state.startswith(_MISCONFIGURED))


def _cursor_values(batch: Batch, taken: int, followed: Followed) -> dict[str, Any]:
    """Return what the row of a cursor holds once *batch* is stored, by column."""
    delivered, quarantined, missing, gaps = batch.counts or (None, None, None, None)
    mark_position, mark_crc = batch.mark or (None, None)
    return {
        "producer": batch.producer.id,
        "service": batch.producer.service,
        "position": batch.end,
        "taken": taken,
        "delivered": delivered,
        "quarantined": quarantined,
        "missing": missing,
        "gaps": gaps,
        "mark_position": mark_position,
        "mark_crc": mark_crc,
        "begins": batch.producer.begins,
        "forked_from": batch.producer.forked_from,
        "measured": bytearray(msgpack.encode(followed)),  # bytes would be taken for JSON here
    }


def _standing(row: list[Any]) -> Standing:
    producer, position, delivered, quarantined, missing, gaps, mark_position, mark_crc, begins = row
    counts = Counts(delivered, quarantined or 0, missing or 0, gaps or 0)
    mark = None if mark_position is None else RecordMark(Position(mark_position), mark_crc)
    return Standing(producer, Position(position), counts, quarantined is not None, mark, Position(begins))


def _read_identity(payload: bytes) -> _Identity | None:
    try:
        return _decode_identity(payload)
    except (DecodeError, ValidationError, UnicodeDecodeError, RecursionError):
        return None

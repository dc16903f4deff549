"""The index of texts of a day that is not over: in pieces, each made as soon as enough events wait for one.

What is looked through without an index costs 1 to 2 µs an event, so that must stay at some ten thousand events however
many come in. A *piece* is a partial index of trigrams over a stretch of the day, named after its bounds in milliseconds
of the day: ``events_20261122_texts_43200000_43205500``. Each begins where the one before ends. PostgreSQL uses one only
for a slice that lies within it, so ``search_walk`` cuts its slices at these bounds.

::

    midnight                                                   last end        LATE    now
    ├─────────── piece ───────────┼── piece ──┼─ piece ─┼ piece ┤  looked through │     │

Making a piece reads the whole partition twice (0.1 µs an event), indexes what is in its bounds (30 µs), and keeps nobody
from reading or writing. What comes late grows into the piece that it belongs to, and there costs what any index of texts
costs when it grows: 0.1 to 0.2 ms an event. Hence ``LATE``: most events are there one or two seconds after their time.

Each piece is one more that has to be asked and planned for (0.4 ms), so neighbours are merged when there are too many: the
cheapest ``FAN`` of them, which makes old pieces long. A merge that would keep new pieces waiting for too long is put off. When
the day is over, one index takes the place of all (``search_index``). ADR 0055 has the measurements.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import sql

from clew.store.postgres.connect import explained
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CLOSED_AFTER", "Pace", "bounds_of", "drop_pieces", "index_open_days", "make_index"]

CLOSED_AFTER: Final = timedelta(hours=1)
"""How long after its midnight a day is over: by then most of what was late has come."""

LATE: Final = timedelta(seconds=2)
"""How old an event has to be for its time to be taken for complete."""

LEAST_EVENTS: Final = 8_000
"""So many events make a piece."""

LEAST_SHARE: Final = 1 / 500
"""Of the day's events, since making a piece reads all of them."""

MOST_EVENTS: Final = 100_000
"""More waiting events make several pieces, so that others can be made in between."""

MOST_PIECES: Final = 16
"""With more of them neighbours are merged, unless that would keep new ones waiting."""

FAR_TOO_MANY: Final = 32
"""With more of them neighbours are merged whatever waits."""

FAN: Final = 5
"""How many are merged into one."""

BYTES_AN_EVENT: Final = 300
SECONDS_AN_EVENT: Final = 60e-6
MOST_WAITING: Final = 10_000
"""How many events may wait for a merge."""

BUSY_EVENTS_S: Final = 10_000
"""A faster stream is a backlog that is shipped: the processor is left to it for a while."""

BUSY_S: Final = 15.0

ATTEMPTS: Final = 3
"""Autovacuum sums up the index of event ids now and then: it waits for the table, which we have, while we wait for it to end."""

_PIECE = re.compile(r"events_(\d{8})_texts_(?:h(\d\d)|(\d{8})_(\d{8}))")
_DAY: Final = timedelta(days=1)
_MS: Final = timedelta(milliseconds=1)

_Connection = psycopg.Connection[tuple[Any, ...]]


class _Piece(NamedTuple):
    """One piece of a day's index.

    Attributes:
        name: The index.
        begin: The events from this moment on are in it.
        end: Up to this one.
        size: Its bytes.
        is_valid: Whether it was finished.
    """

    name: str
    begin: datetime
    end: datetime
    size: int
    is_valid: bool


class Pace:
    """Return which days are to be looked at, and how fast they grow: from one look to the next.

    Without it every look is thorough. With it a day to which nothing was added is passed over, and one that a backlog is shipped into is
    left alone for ``BUSY_S`` at most.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}
        self._busy_since: dict[str, float] = {}

    def note(self, day: str, inserted: int, at_s: float) -> float | None:
        """Note how many events a day has had by some moment.

        Returns:
            Events a second, infinite while that is not known; None if the day is not to be looked at.
        """
        before = self._seen.get(day)
        self._seen[day] = (at_s, inserted)
        if before is None or at_s <= before[0]:
            return math.inf
        rate = (inserted - before[1]) / (at_s - before[0])
        if rate > BUSY_EVENTS_S and at_s - self._busy_since.setdefault(day, at_s) < BUSY_S:
            return None
        if rate <= BUSY_EVENTS_S or at_s - self._busy_since[day] >= BUSY_S:
            self._busy_since.pop(day, None)
        return rate


def index_open_days(connection: _Connection, now: datetime, *, pace: Pace | None = None) -> Iterator[str]:
    """Make the pieces of the index of texts that are due, of each day that is not over.

    Does nothing while another session is at it, or where the extension pg_trgm is missing.

    Args:
        connection: A connection in autocommit mode that may change tables.
        now: The time it is, in UTC.
        pace: What earlier looks of the same process have seen.

    Yields:
        The name of each piece when it is finished. Stop whenever you like.

    Raises:
        StoreError: An index could not be made; the disk may be full.
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        operators = read(connection, _rows("search_operators"))
        if not operators or not read(connection, _rows("search_pieces_lock"))[0]["is_ours"]:
            return
        try:
            for day in read(connection, _rows("search_open_days", since=f"events_{now - CLOSED_AFTER:%Y%m%d}")):
                rate = 0.0 if pace is None else pace.note(day["name"], day["inserted"], time.monotonic())
                if rate is not None and not day["is_indexed"]:
                    yield from _index_day(connection, day, now, operators[0]["name"], rate)
        finally:
            if not connection.closed:
                connection.execute(query("search_pieces_unlock"))


def bounds_of(name: str) -> tuple[datetime, datetime]:
    """Return from which moment to which one the piece of a name goes.

    Indexes of an earlier version went from midnight to a full hour.

    Example:
        >>> [moment.isoformat() for moment in bounds_of("events_20261122_texts_43200000_43205500")]
        ['2026-11-22T12:00:00+00:00', '2026-11-22T12:00:05.500000+00:00']
        >>> bounds_of("events_20261122_texts_h14")[1].hour
        14
    """
    match = _PIECE.fullmatch(name)
    assert match is not None
    midnight = _midnight(match[1])
    if match[2] is not None:
        return midnight, midnight + timedelta(hours=int(match[2]))
    return midnight + int(match[3]) * _MS, midnight + int(match[4]) * _MS


def drop_pieces(connection: _Connection, partition: str) -> None:
    """Remove all pieces of a day that has an index of its own now, and what the planner was given beside them."""
    for piece in _pieces_of(connection, partition):
        _drop(connection, piece)
    connection.execute(sql.SQL("DROP STATISTICS IF EXISTS {}").format(_statistics(partition)))


def make_index(
    connection: _Connection,
    partition: str,
    schema: str,
    *,
    name: str,
    bounds: tuple[datetime, datetime] | None = None,
) -> None:
    """Make an index of texts, beside everything else.

    Args:
        connection: A connection in autocommit mode that may change tables.
        partition: The day.
        schema: That of pg_trgm's operators.
        name: The index; what an attempt that was killed has left of it is dropped.
        bounds: The first and the last moment it is for; None for all.
    """
    where = sql.SQL(' WHERE "timestamp" >= {} AND "timestamp" <= {}').format(*bounds) if bounds else sql.SQL("")
    names = {
        "index": sql.Identifier(name),
        "partition": sql.Identifier(partition),
        "schema": sql.Identifier(schema),
        "where": where,
    }
    # By one process: with the workers that PostgreSQL 18 would add, those who search wait for a processor.
    connection.execute("SET max_parallel_maintenance_workers = 0")
    make = sql.SQL(
        "CREATE INDEX CONCURRENTLY {index} ON {partition}"
        " USING gin (event_texts(message, error, context) {schema}.gin_trgm_ops){where}"
    )
    for attempt in range(ATTEMPTS):
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {index}").format(**names))
        try:
            connection.execute(make.format(**names))
        except psycopg.errors.DeadlockDetected:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


def _index_day(connection: _Connection, day: dict[str, Any], now: datetime, schema: str, rate: float) -> Iterator[str]:
    """Make the pieces of one day that are due, then at most one merge."""
    partition: str = day["name"]
    pieces = _tidied(connection, _pieces_of(connection, partition))
    midnight = _midnight(partition.removeprefix("events_"))
    least = max(LEAST_EVENTS, day["events"] * LEAST_SHARE)
    while bounds := _due(connection, pieces[-1].end if pieces else midnight, min(now, midnight + _DAY), least):
        name = _name(partition, bounds)
        make_index(connection, partition, schema, name=name, bounds=bounds)
        # Else the index of event ids has autovacuum look at new pages, once a minute and never in a busy hour: until
        # then each look-up of an id reads all of them (measured: 50 ms beside 20,000 of them).
        connection.execute(query("search_summarize"), {"partition": partition})
        pieces = _pieces_of(connection, partition)
        yield name
    if few := _to_merge(pieces, rate):
        bounds = few[0].begin, few[-1].end
        name = _name(partition, bounds)
        make_index(connection, partition, schema, name=name, bounds=bounds)
        for piece in few:
            _drop(connection, piece)
        yield name
    if pieces:
        _inform_planner(connection, day)


def _inform_planner(connection: _Connection, day: dict[str, Any]) -> None:
    """Let the planner know how frequent pieces of text are, without which it takes a common word for a rare one.

    It uses what is known of an index's expression only if the index is not partial. And autovacuum, which would count anew, gives way to
    whoever makes an index: in a busy day it never comes to its end.
    """
    names = {"statistics": _statistics(day["name"]), "partition": sql.Identifier(day["name"])}
    if not day["has_statistics"]:
        make = sql.SQL(
            "CREATE STATISTICS IF NOT EXISTS {statistics} ON (event_texts(message, error, context)) FROM {partition}"
        )
        connection.execute(make.format(**names))
    if not day["has_statistics"] or day["changed"] > max(LEAST_EVENTS, day["events"] / 5):
        connection.execute(sql.SQL("ANALYZE {partition}").format(**names))


def _statistics(partition: str) -> sql.Identifier:
    return sql.Identifier(f"{partition}_texts_stat")


def _due(connection: _Connection, begin: datetime, until: datetime, least: float) -> tuple[datetime, datetime] | None:
    """Return the bounds of the next piece if there are enough events for one."""
    asked = {"begin": begin, "until": until, "late": LATE, "most": MOST_EVENTS}
    [waiting] = read(connection, _rows("search_waiting", **asked))
    if waiting["events"] < least:
        return None
    end = waiting["last"] - timedelta(microseconds=waiting["last"].microsecond % 1000)
    return (begin, end) if end > begin else None


def _to_merge(pieces: Sequence[_Piece], rate: float) -> Sequence[_Piece]:
    """Choose the neighbours that are to be one; none if there are few, or new ones would wait for it for too long."""
    if len(pieces) <= MOST_PIECES:
        return ()
    few = min(
        (pieces[at : at + FAN] for at in range(len(pieces) - FAN + 1)),
        key=lambda some: sum(piece.size for piece in some),
    )
    seconds = sum(piece.size for piece in few) / BYTES_AN_EVENT * SECONDS_AN_EVENT
    return few if seconds * rate <= MOST_WAITING or len(pieces) > FAR_TOO_MANY else ()


def _tidied(connection: _Connection, pieces: list[_Piece]) -> list[_Piece]:
    """Drop what killed attempts have left: what is not finished, and what has been merged into another."""
    sound = [piece for piece in pieces if piece.is_valid]
    merged = [
        piece
        for piece in sound
        if any(other is not piece and other.begin <= piece.begin and piece.end <= other.end for other in sound)
    ]
    for piece in [piece for piece in pieces if piece not in sound or piece in merged]:
        _drop(connection, piece)
    return [piece for piece in sound if piece not in merged]


def _pieces_of(connection: _Connection, partition: str) -> list[_Piece]:
    """List the pieces of a day, the oldest first."""
    rows = read(connection, _rows("search_pieces", partition=partition))
    return sorted(
        (_Piece(row["name"], *bounds_of(row["name"]), row["size"], row["is_valid"]) for row in rows),
        key=lambda piece: (piece.begin, piece.end),
    )


def _drop(connection: _Connection, piece: _Piece) -> None:
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(piece.name)))


def _name(partition: str, bounds: tuple[datetime, datetime]) -> str:
    midnight = _midnight(partition.removeprefix("events_"))
    begin, end = ((moment - midnight) // _MS for moment in bounds)
    return f"{partition}_texts_{begin:08}_{end:08}"


def _midnight(day: str) -> datetime:
    return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)


def _rows(name: str, **values: Any) -> Reading[list[dict[str, Any]]]:
    return (yield Statement(query(name), values))

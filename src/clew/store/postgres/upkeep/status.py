"""What the store holds and how it fares: sizes, growth, dead rows, slow statements, how far each producer has come."""

from __future__ import annotations

import re
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from clew import clock
from clew.store.events import format_timestamp
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["SLOW_MS", "Partition", "ProducerProgress", "SlowStatement", "StoreStatus", "fetch_status"]

SLOW_MS: Final = 250.0
"""A statement that took longer at least once is slow: two and a half times the largest budget of a query."""

MAX_SLOW: Final = 10
GROWTH_DAYS: Final = 7
_DAY: Final = re.compile(r"events_(\d{8})")

COUNT_BELOW_BYTES = 64 * 1024 * 1024
"""Stores smaller than this are counted, in some 20 ms; PostgreSQL's estimates lag behind by a minute."""


class Partition(Struct, frozen=True):
    """One day of events.

    Attributes:
        name: The table.
        bounds: Which moments it holds, as PostgreSQL writes it.
        bytes: Its size on disk, with indexes.
        events_estimate: About how many events it holds; exact in small stores.
    """

    name: str
    bounds: str
    bytes: int
    events_estimate: int


class ProducerProgress(Struct, frozen=True):
    """How far a producer's events have come.

    Attributes:
        producer: The producer's id.
        service: Its service.
        position: Where in its spool the next batch begins.
        delivered: How many of its records have been stored.
        updated_at: When the last batch was; RFC 3339.
    """

    producer: str
    service: str
    position: int
    delivered: int
    updated_at: str


class SlowStatement(Struct, frozen=True):
    """A statement that was slow.

    Attributes:
        name: Our name of it, or its text without the values.
        calls: How often it ran, fast runs too where PostgreSQL counts; else how often it was slow.
        mean_ms: What a run of these took, on average.
        max_ms: What the longest took.
        total_ms: What all of them took.
    """

    name: str
    calls: int
    mean_ms: float
    max_ms: float
    total_ms: float


class StoreStatus(Struct, frozen=True):
    """The state of the store.

    Attributes:
        server_version: PostgreSQL's.
        database_bytes: Size of the database on disk.
        growth_bytes_a_day: Mean size of the last whole days, seven at most and none that were thinned out; None before there is one.
        dead_rows: Rows that were changed or removed, and whose room is not free yet.
        dead_bytes_estimate: About how much of the tables they take.
        events_estimate: About how many events it holds; exact when it is small.
        newest_event: Timestamp of the newest event, RFC 3339; None when there is none.
        open_spans: How many spans have begun and not ended.
        partitions: By name.
        producers: The one that was active last first.
        slow_statements: As PostgreSQL's ``pg_stat_statements`` reports them; None where that is not to be had.
    """

    server_version: str
    database_bytes: int
    growth_bytes_a_day: int | None
    dead_rows: int
    dead_bytes_estimate: int
    events_estimate: int
    newest_event: str | None
    open_spans: int
    partitions: list[Partition]
    producers: list[ProducerProgress]
    slow_statements: list[SlowStatement] | None


def fetch_status() -> Reading[StoreStatus]:
    """Fetch the state of the store."""
    [database] = yield Statement(query("status_database"), {})
    rows = yield Statement(query("status_partitions"), {})
    progress = yield Statement(query("status_producers"), {})
    if sum(row["bytes"] for row in rows) < COUNT_BELOW_BYTES:
        counts = yield Statement(query("status_counts"), {})
        counted = {row["name"]: row["events"] for row in counts}
        rows = [{**row, "events_estimate": counted.get(row["name"], 0)} for row in rows]
    partitions = [Partition(**row) for row in rows]
    thinned = {row["day"] for row in (yield Statement(query("retention_days"), {}))}
    [bloat] = yield Statement(query("status_bloat"), {})
    slow = yield from _fetch_slow()
    newest = database["newest_event"]
    return StoreStatus(
        server_version=database["server_version"],
        database_bytes=database["database_bytes"],
        growth_bytes_a_day=_growth(partitions, clock.now().astimezone(UTC).date(), thinned),
        dead_rows=bloat["dead_rows"],
        dead_bytes_estimate=bloat["dead_bytes_estimate"],
        events_estimate=sum(partition.events_estimate for partition in partitions),
        newest_event=None if newest is None else format_timestamp(newest),
        open_spans=database["open_spans"],
        partitions=partitions,
        producers=[_progress(row) for row in progress],
        slow_statements=slow,
    )


def _fetch_slow() -> Reading[list[SlowStatement] | None]:
    [answer] = yield Statement(query("status_has_statements"), {})
    if not answer["has_statements"]:
        return None
    rows = yield Statement(query("status_slow_statements"), {"threshold_ms": SLOW_MS, "limit": MAX_SLOW})
    return [SlowStatement(**row) for row in rows]


def _growth(partitions: list[Partition], today: date, thinned: Collection[date] = ()) -> int | None:
    """Average the sizes of the last whole days; a day between them of which nothing is left counts as empty.

    Days that were thinned out show what stays, not what comes in: they and those before them are left out.
    """
    since = max((day + timedelta(days=1) for day in thinned if day < today), default=date.min)
    sizes = {day: part.bytes for part in partitions if (day := _day_of(part.name)) is not None and since <= day < today}
    if not sizes:
        return None
    first = max(min(sizes), today - timedelta(days=GROWTH_DAYS))
    days = (today - first).days
    return sum(size for day, size in sizes.items() if day >= first) // days


def _day_of(partition: str) -> date | None:
    match = _DAY.fullmatch(partition)
    return None if match is None else date.fromisoformat(match[1])


def _progress(row: dict[str, Any]) -> ProducerProgress:
    return ProducerProgress(
        producer=str(row["producer"]),
        service=row["service"],
        position=row["position"],
        delivered=row["delivered"],
        updated_at=format_timestamp(row["updated_at"]),
    )

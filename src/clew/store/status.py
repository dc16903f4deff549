"""What the store holds: sizes, partitions, what came last, how far each producer has come."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from clew.store.events import format_timestamp
from clew.store.load import query
from clew.store.reading import Reading, Statement

__all__ = ["Partition", "ProducerProgress", "StoreStatus", "fetch_status"]

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


class StoreStatus(Struct, frozen=True):
    """The state of the store.

    Attributes:
        server_version: PostgreSQL's.
        database_bytes: Size of the database on disk.
        events_estimate: About how many events it holds; exact when it is small.
        newest_event: Timestamp of the newest event, RFC 3339; None when there is none.
        open_spans: How many spans have begun and not ended.
        partitions: By name.
        producers: The one that was active last first.
    """

    server_version: str
    database_bytes: int
    events_estimate: int
    newest_event: str | None
    open_spans: int
    partitions: list[Partition]
    producers: list[ProducerProgress]


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
    newest = database["newest_event"]
    return StoreStatus(
        server_version=database["server_version"],
        database_bytes=database["database_bytes"],
        events_estimate=sum(partition.events_estimate for partition in partitions),
        newest_event=None if newest is None else format_timestamp(newest),
        open_spans=database["open_spans"],
        partitions=partitions,
        producers=[_progress(row) for row in progress],
    )


def _progress(row: dict[str, Any]) -> ProducerProgress:
    return ProducerProgress(
        producer=str(row["producer"]),
        service=row["service"],
        position=row["position"],
        delivered=row["delivered"],
        updated_at=format_timestamp(row["updated_at"]),
    )

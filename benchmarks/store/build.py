"""Build a store of many events, as thirty days of a RAG service would have left it.

The days before the last one come in by binary ``COPY``. The last day takes the way of every event: onto a spool, and
through the agent, with all indexes in place and all other days there, which have their index of texts. That is the ingest that is
measured, against a bare ``COPY`` of the same rows into the same table. Then the last day gets its pieces, but for its newest events.
"""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from msgspec import json

from benchmarks import bench_agent
from benchmarks.store_data import DAYS, END, copy_rows, make_rows
from clew.event import LEVELS
from clew.spool.writer import Writer
from clew.store.postgres.load import query
from clew.store.postgres.rows import COLUMNS
from clew.store.postgres.upkeep.compaction import compact
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.search_index import index_closed_days
from clew.store.postgres.upkeep.search_pieces import index_open_days

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["build"]

ROWS_A_COPY: Final = 50_000
_NAMES: Final = [name for name, _ in COLUMNS]
_LEVELS: Final = {number: name for name, number in LEVELS.items()}
_UUIDS: Final = ("trace_id", "span_id", "parent_span_id")


def build(dsn: str, data: Path, events: int) -> dict[str, Any]:
    """Fill a database.

    Args:
        dsn: An empty one.
        data: A directory for the spool.
        events: How many, over thirty days.

    Returns:
        What ingesting the last day, and indexing the others, took; and how large everything is.
    """
    psycopg.types.json.set_json_dumps(json.encode)
    migrate(dsn)
    last_day = END - timedelta(days=1)
    told: dict[str, Any] = {"events": events}
    backlog = Writer(data / "spool", service="rag-api")
    with psycopg.connect(dsn, autocommit=True) as connection:
        for day in range(DAYS + 1):
            connection.execute("SELECT ensure_partition(%s)", [(END - timedelta(days=day)).date()])
        rows = make_rows(events)
        earlier = _until(rows, last_day, backlog)
        copied, began = 0, time.perf_counter()
        while batch := copy_rows(connection, islice(earlier, ROWS_A_COPY)):
            copied += batch
        told["copy_seconds"] = time.perf_counter() - began
        backlog.close()
        began = time.perf_counter()
        list(index_closed_days(connection, END + timedelta(hours=2) - timedelta(days=1)))
        told["index_seconds"], told["indexed"] = time.perf_counter() - began, copied
        connection.execute("ANALYZE events")
        # By the real clock the last day is over too, and the agent would make its index of texts while it ships it.
        connection.execute(query("search_lock"))
        told |= {
            f"ingest_{name}": value for name, value in bench_agent.ship(data, dsn, connection, events - copied).items()
        }
        connection.execute(query("search_unlock"))
        connection.execute("ANALYZE")
        list(index_open_days(connection, END - timedelta(minutes=10)))  # the newest events have none, as ever
        for _ in compact(connection) or ():
            pass
        began = time.perf_counter()
        connection.execute("VACUUM ANALYZE")
        told["vacuum_seconds"] = time.perf_counter() - began
        return told | _sizes(connection)


def _until(rows: Iterator[tuple[Any, ...]], end: Any, backlog: Writer) -> Iterator[tuple[Any, ...]]:
    """Hand on the rows before a moment; those from then on go to the spool, as events."""
    for row in rows:
        if row[0] < end:
            yield row
        else:
            backlog.append(_as_event(row))


def _as_event(row: tuple[Any, ...]) -> bytes:
    """Write a row as the event that it would have come from."""
    told = dict(zip(_NAMES, row, strict=True))
    event = {
        name: value for name, value in told.items() if value is not None and name not in {"duration_ms", "cost_usd"}
    }
    event["timestamp"] = told["timestamp"].isoformat().replace("+00:00", "Z")
    event["level"] = _LEVELS[told["level"]]
    event.pop("event_id")
    event |= {name: str(told[name]) for name in _UUIDS if isinstance(told[name], UUID)}
    event |= {name: told[name].obj for name in ("context", "metrics", "error") if told[name] is not None}
    return json.encode(event)


def _sizes(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Measure what the events take, by what takes it."""
    [(count, heap, toast, indexes)] = connection.execute(
        "SELECT (SELECT count(*) FROM events), sum(pg_relation_size(oid)), "
        "sum(coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0)), sum(pg_indexes_size(oid)) "
        "FROM pg_class WHERE relname ~ '^events_' AND relkind = 'r'"
    ).fetchall()
    by_index = connection.execute(
        "SELECT regexp_replace(regexp_replace(i.relname, '^events_(\\d{8}|default)_', ''), '[_\\d]+$', '') AS name, "
        "sum(pg_relation_size(i.oid)) FROM pg_class AS i JOIN pg_index ON indexrelid = i.oid "
        "JOIN pg_class AS t ON t.oid = indrelid WHERE t.relname ~ '^events_' GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()
    return {
        "stored": int(count),
        "heap_bytes": float(heap) / count,
        "toast_bytes": float(toast) / count,
        "index_bytes": float(indexes) / count,
        "indexes": {name: float(size) / count for name, size in by_index},
    }

"""Events put straight into a store, by the same COPY that the sink uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from clew.record import COLUMNS, LEVELS

if TYPE_CHECKING:
    from datetime import datetime

_COPY = sql.SQL("COPY events ({}) FROM STDIN (FORMAT binary)").format(
    sql.SQL(", ").join(sql.Identifier(name) for name, _ in COLUMNS)
)
_REQUIRED: dict[str, Any] = {"kind": "log", "level": "INFO", "stage": "other", "message": "told", "service": "rag-api"}


def make_event(timestamp: datetime, **values: Any) -> dict[str, Any]:
    """Make an event of the public format with the required keys filled in."""
    return {**_REQUIRED, "timestamp": timestamp, "event_id": uuid4(), "context": {}, "metrics": {}, **values}


def store_events(dsn: str, *events: dict[str, Any]) -> None:
    """Store ended events."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for day in {event["timestamp"].date() for event in events}:
            connection.execute("SELECT ensure_partition(%s)", [day])
        with connection.cursor().copy(_COPY) as copy:
            copy.set_types([kind for _, kind in COLUMNS])
            for event in events:
                copy.write_row([_value(name, event) for name, _ in COLUMNS])


def store_open_span(dsn: str, event: dict[str, Any]) -> None:
    """Store a span that has begun and not ended."""
    told = {key: value for key, value in event.items() if key not in {"event_id", "timestamp"}}
    told |= {
        "timestamp": event["timestamp"].isoformat().replace("+00:00", "Z"),
        "kind": "span_start",
        "status": "running",
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            'INSERT INTO open_spans (span_id, trace_id, "timestamp", producer, event) VALUES (%s, %s, %s, %s, %s)',
            [event["span_id"], event["trace_id"], event["timestamp"], uuid4(), Jsonb(told)],
        )


def _value(name: str, event: dict[str, Any]) -> Any:
    value = event["metrics"].get(name) if name in {"duration_ms", "cost_usd"} else event.get(name)
    if name == "level":
        return LEVELS[event["level"]]
    if name in {"context", "metrics", "error"}:
        return None if value is None else Jsonb(value)
    if name in {"event_id", "trace_id", "span_id", "parent_span_id"} and isinstance(value, str):
        return UUID(value)
    return value

"""Events put straight into a store, by the same COPY that the sink uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from msgspec import Raw, json
from psycopg import sql
from psycopg.types.json import Jsonb

from clew.event import LEVELS
from clew.measures.counting import VERDICT_COLUMNS, verdict_columns
from clew.store.postgres.load import query
from clew.store.postgres.rows import COLUMNS
from clew.store.postgres.upkeep.recount import Judged, StoredEvent, judge, ledger_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_COPY = sql.SQL("COPY events ({}) FROM STDIN (FORMAT binary)").format(
    sql.SQL(", ").join(sql.Identifier(name) for name, _ in (*COLUMNS, *VERDICT_COLUMNS))
)
_REQUIRED: dict[str, Any] = {"kind": "log", "level": "INFO", "stage": "other", "message": "told", "service": "rag-api"}


def make_event(timestamp: datetime, **values: Any) -> dict[str, Any]:
    """Make an event of the public format with the required keys filled in."""
    return {**_REQUIRED, "timestamp": timestamp, "event_id": uuid4(), "context": {}, "metrics": {}, **values}


def store_events(dsn: str, *events: dict[str, Any]) -> None:
    """Store ended events, with what of them counts."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for day in {event["timestamp"].date() for event in events}:
            connection.execute("SELECT ensure_partition(%s)", [day])
        judged = counted(events)
        verdicts = {one.event.event_id: verdict_columns(one.verdict) for one in judged}
        connection.cursor().executemany(query("recount_book"), ledger_rows(judged))
        with connection.cursor().copy(_COPY) as copy:
            copy.set_types([kind for _, kind in (*COLUMNS, *VERDICT_COLUMNS)])
            for event in events:
                copy.write_row([*(_value(name, event) for name, _ in COLUMNS), *verdicts[event["event_id"]]])


def counted(events: Iterable[dict[str, Any]]) -> list[Judged]:
    """Say what of each event counts."""
    traces: dict[Any, list[StoredEvent]] = {}
    for event in events:
        trace_id = None if event.get("trace_id") is None else str(event["trace_id"])
        traces.setdefault(trace_id or event["event_id"], []).append(_stored(event))
    return [one for some in traces.values() for one in judge(some)]


def _stored(event: dict[str, Any]) -> StoredEvent:
    told: dict[str, Any] = {
        name: event.get(name) for name in StoredEvent.__struct_fields__ if event.get(name) is not None
    }
    for name in ("trace_id", "span_id", "parent_span_id"):
        if isinstance(told.get(name), str):
            told[name] = UUID(told[name])
    told |= {
        name: Raw(json.encode(event[name])) for name in ("context", "metrics", "error") if event.get(name) is not None
    }
    return StoredEvent(**told)


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

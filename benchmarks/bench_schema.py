"""What each index of ``events`` costs and gives, and other ways to lay out its rows: ``python -m benchmarks.bench_schema``.

A day of the events of ``store_data`` is copied into tables like a partition:

* into one with all indexes, and into others that lack one of them, in turns. What an index *costs* is what it adds to the
  time of an event, as the median over the rounds; what it *gives* is seen by the question that it is there for, asked with it
  and without it;
* without indexes, into tables whose columns stand in other orders, whose rows are compressed, or whose time has a BRIN.

The rows come as the bytes that PostgreSQL itself wrote, in batches of the agent's size, so that the server alone is measured.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import json

from benchmarks.machine import SCRATCH, describe
from benchmarks.store_data import END, copy_rows, make_rows
from clew.store.postgres.rows import COLUMNS
from clew.store.postgres.server import embedded
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["main", "run", "schema_page"]

EVENTS: Final = 200_000
ROUNDS: Final = 9
ASKINGS: Final = 15

QUESTIONS: Final = {
    "events_trace_idx": ("a trace", "trace_id = %(trace_id)s"),
    "events_span_idx": ("a span by its id", "kind = 'span' AND span_id = %(span_id)s"),
    "events_span_low_idx": (
        "a span by its W3C id",
        "kind = 'span' AND substring(uuid_send(span_id) FROM 9) = substring(uuid_send(%(span_id)s) FROM 9)",
    ),
    "events_user_idx": ("a user's newest 100", 'user_id = %(user_id)s ORDER BY "timestamp" DESC LIMIT 100'),
    "events_session_idx": ("a session's newest 100", 'session_id = %(session_id)s ORDER BY "timestamp" DESC LIMIT 100'),
    "events_request_idx": ("a request", "request_id = %(request_id)s"),
    "events_timestamp_idx": ("the newest 100", 'true ORDER BY "timestamp" DESC LIMIT 100'),
    "events_error_idx": ("the newest 100 errors", 'level >= 40 ORDER BY "timestamp" DESC LIMIT 100'),
    "events_event_idx": ("an event by its id", "event_id = %(event_id)s"),
}
"""What each index is there for, and the condition by which that is asked."""

_KINDS: Final = dict(COLUMNS)
_FIXED: Final = ("float8", "int2", "uuid", "timestamptz")
ORDERS: Final = {
    "as shipped": list(_KINDS),
    "columns by name": sorted(_KINDS),
    "texts first": sorted(_KINDS, key=lambda name: _KINDS[name] in _FIXED),
}
"""Orders of the columns."""

LAYOUTS: Final = {
    "compressed, where it saves anything": "ALTER TABLE {table} SET (toast_tuple_target = 128)",
    "as shipped, with a B-tree on the time": 'CREATE INDEX ON {table} ("timestamp")',
    "as shipped, with a BRIN on the time": 'CREATE INDEX ON {table} USING brin ("timestamp")',
}
"""What else is done to a table in the order that is shipped."""


def run(*, scale: float = 1.0, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure.

    Args:
        scale: Factor on the number of events.
        rounds: How often everything is copied, in turns.

    Returns:
        ``machine``, ``events``; ``all_us`` (what storing an event takes with all indexes); ``indexes``: by name ``on``, ``costs_us``,
        ``bytes`` (an event), ``with_ms``, ``without_ms``; ``layouts``: by name ``us`` and ``bytes`` (an event).
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    events = int(EVENTS * scale)
    psycopg.types.json.set_json_dumps(json.encode)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as place, embedded.start(Path(place) / "postgres") as server:
        migrate(server.dsn)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            day = END + timedelta(days=1)
            connection.execute("SELECT ensure_partition(%s)", [END.date()])
            copy_rows(connection, make_rows(events, end=day, days=1))
            return {"machine": describe(), "events": events, **_measure(connection, events, rounds)}


def schema_page(found: dict[str, Any]) -> str:
    """Write what ``run`` found as two tables."""
    machine = found["machine"]
    lines = [
        f"Measured on {machine['day']} at commit `{machine['commit']}`: {found['events']:,} events in a partition.",
        f"With all of its indexes, an event takes the server {found['all_us']:.1f} µs.",
        "",
        "| index | costs, an event | bytes an event | what it is there for | with it | without it |",
        "|---|---:|---:|---|---:|---:|",
    ]
    lines += [
        f"| `{name}` {index['on']} | {index['costs_us']:.2f} µs | {index['bytes']:.0f} | {QUESTIONS[name][0]} |"
        f" {index['with_ms']:.2f} ms | {index['without_ms']:.1f} ms |"
        for name, index in sorted(found["indexes"].items(), key=lambda item: -item[1]["costs_us"])
    ]
    lines += ["", "| rows, without further indexes | an event | bytes an event |", "|---|---:|---:|"]
    lines += [f"| {name} | {told['us']:.2f} µs | {told['bytes']:.0f} |" for name, told in found["layouts"].items()]
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    print(schema_page(run()))


def _measure(connection: psycopg.Connection[Any], events: int, rounds: int) -> dict[str, Any]:
    indexes = dict(
        connection.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'events'").fetchall()
    )
    with_all = _make_table(connection, "with_all", indexes)
    without = {
        name: _make_table(connection, f"without_{name}", {other: indexes[other] for other in indexes if other != name})
        for name in indexes
    }
    layouts = _make_layouts(connection)
    batches = _batches(connection, events)
    times: dict[str, list[float]] = {table: [] for table in (with_all, *without.values(), *layouts.values())}
    for number in range(rounds):
        print(f"round {number + 1}/{rounds}", file=sys.stderr)
        for table, taken in times.items():
            taken.append(_copy(connection, table, batches) / events * 1e6)
    connection.execute("VACUUM ANALYZE")
    return {
        "all_us": statistics.median(times[with_all]),
        "indexes": {
            name: {
                "on": definition[definition.index("USING") :].removeprefix("USING "),
                "costs_us": statistics.median(
                    a - b for a, b in zip(times[with_all], times[without[name]], strict=True)
                ),
                "bytes": _size(connection, f"{with_all}_{name}") / events,
                "with_ms": _ask(connection, with_all, QUESTIONS[name][1]),
                "without_ms": _ask(connection, without[name], QUESTIONS[name][1]),
            }
            for name, definition in indexes.items()
        },
        "layouts": {
            name: {"us": statistics.median(times[table]), "bytes": _size(connection, table) / events}
            for name, table in layouts.items()
        },
    }


def _make_table(connection: psycopg.Connection[Any], table: str, indexes: dict[str, str]) -> str:
    """Make a table like a partition, with some of its indexes; return its name."""
    _run(connection, f"CREATE TABLE {table} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    for name, definition in indexes.items():
        _run(connection, definition.replace(f" {name} ON ONLY public.events ", f" {table}_{name} ON {table} "))
    return table


def _make_layouts(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Make the tables that are laid out otherwise; return their names."""
    tables = {name: f"layout_{number}" for number, name in enumerate((*ORDERS, *LAYOUTS))}
    for name, table in tables.items():
        columns = ", ".join(f'"{column}" {_KINDS[column]}' for column in ORDERS.get(name, _KINDS))
        _run(connection, f"CREATE TABLE {table} ({columns}, ingested_at timestamptz NOT NULL DEFAULT now())")
        if name in LAYOUTS:
            _run(connection, LAYOUTS[name].format(table=table))
    return tables


def _batches(connection: psycopg.Connection[Any], events: int) -> list[list[bytes]]:
    """Take the rows out as PostgreSQL writes them, in batches."""
    columns, size = ", ".join(f'"{name}"' for name in _KINDS), PostgresSink.max_events
    taken: list[list[bytes]] = []
    for start in range(0, events, size):
        query = f'SELECT {columns} FROM events ORDER BY "timestamp", event_id LIMIT {size} OFFSET {start}'
        with connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
            taken.append([bytes(part) for part in copy])
    return taken


def _copy(connection: psycopg.Connection[Any], table: str, batches: Iterable[list[bytes]]) -> float:
    """Empty a table and copy the batches into it, each in a transaction; return seconds."""
    _run(connection, f"TRUNCATE {table}")
    connection.execute("CHECKPOINT")
    columns = ", ".join(f'"{name}"' for name in _KINDS)
    began = time.perf_counter()
    for batch in batches:
        with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)") as copy:  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
            for part in batch:
                copy.write(part)
    return time.perf_counter() - began


def _ask(connection: psycopg.Connection[Any], table: str, condition: str) -> float:
    """Ask a question of a table for several of its rows; return the median in ms."""
    ids = ("trace_id", "span_id", "user_id", "session_id", "request_id", "event_id")
    rows = connection.execute(
        f"SELECT {', '.join(ids)} FROM {table} TABLESAMPLE BERNOULLI (1) WHERE kind = 'span' LIMIT %s",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        [ASKINGS],
    ).fetchall()
    waits: list[float] = []
    for row in rows:
        began = time.perf_counter()
        _run(connection, f"SELECT * FROM {table} WHERE {condition}", dict(zip(ids, row, strict=True)))
        waits.append((time.perf_counter() - began) * 1e3)
    return statistics.median(waits)


def _size(connection: psycopg.Connection[Any], relation: str) -> float:
    """Return how many bytes a table (with what is stored apart from it), or an index, takes."""
    row = connection.execute("SELECT pg_table_size(%s)", [relation]).fetchone()
    return float(row[0]) if row else 0.0


def _run(connection: psycopg.Connection[Any], statement: str, parameters: dict[str, Any] | None = None) -> None:
    connection.execute(statement, parameters)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()

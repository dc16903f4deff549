"""The same events in DuckDB, ClickHouse and SQLite: ``python peers.py FILE.parquet DIRECTORY``; prints JSON.

Run by a Python that has ``duckdb`` and ``chdb`` (and ``pyarrow``, which SQLite is filled through); what is missing is left out.
Each gets a schema that its users would give it: DuckDB a table sorted by time with an index of trace ids; ClickHouse a MergeTree ordered by
time with bloom filters for trace and user and a token filter for texts; SQLite a table with indexes for trace, user and time, and FTS5.
"""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

TERMS = {"one event of 100,000": "quasarfault", "one of 200": "throttled", "one of ten": "retrieved"}
TIMES = 9
COLUMNS = "timestamp, trace_id, user_id, level, kind, stage, message, service, duration_ms, context, error"


def main() -> None:
    """Measure what is there."""
    file, place = sys.argv[1], Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, module, measure in (
        ("DuckDB", "duckdb", duckdb),
        ("ClickHouse", "chdb", clickhouse),
        ("SQLite", "sqlite3", sqlite),
    ):
        if importlib.util.find_spec(module) is None:
            continue
        try:
            found[name] = measure(file, place / name)
        except Exception as error:
            print(f"{name} is left out: {type(error).__name__}: {error}", file=sys.stderr)
    print(json.dumps(found))


def duckdb(file: str, place: Path) -> dict[str, Any]:
    """Measure DuckDB."""
    import duckdb as library

    connection = library.connect(str(place))
    began = time.perf_counter()
    connection.execute(f"CREATE TABLE events AS SELECT {COLUMNS} FROM '{file}' ORDER BY timestamp")
    connection.execute("CREATE INDEX by_trace ON events (trace_id)")
    load = time.perf_counter() - began
    text = "message || ' ' || context || coalesce(error, '')"
    asked = _questions(lambda sql: connection.execute(sql).fetchall(), lambda term: f"({text}) ILIKE '%{term}%'")
    return _told(
        connection.execute("SELECT count(*) FROM events").fetchall()[0][0], load, place, asked, library.__version__
    )


def clickhouse(file: str, place: Path) -> dict[str, Any]:
    """Measure ClickHouse, in process."""
    import chdb
    from chdb import session

    at = session.Session(str(place))
    began = time.perf_counter()
    at.query("CREATE DATABASE IF NOT EXISTS d")
    at.query(
        "CREATE TABLE d.events (timestamp DateTime64(6, 'UTC'), trace_id String, user_id String, level LowCardinality(String),"
        " kind LowCardinality(String), stage LowCardinality(String), message LowCardinality(String), service LowCardinality(String),"
        " duration_ms Nullable(Float64), context String CODEC(ZSTD(1)), error String CODEC(ZSTD(1)),"
        " INDEX t trace_id TYPE bloom_filter GRANULARITY 1, INDEX u user_id TYPE bloom_filter GRANULARITY 1,"
        " INDEX w lower(context) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1) ENGINE = MergeTree ORDER BY timestamp"
    )
    at.query(
        f"INSERT INTO d.events SELECT timestamp, coalesce(trace_id, ''), coalesce(user_id, ''), level, kind, stage, message, service,"
        f" duration_ms, coalesce(context, ''), coalesce(error, '') FROM file('{file}', Parquet)"
    )
    load = time.perf_counter() - began

    def ask(sql: str) -> list[list[Any]]:
        answer = at.query(
            sql.replace("FROM events", "FROM d.events").replace("median(", "quantile(0.5)("), "JSONCompact"
        )
        return json.loads(str(answer))["data"]

    asked = _questions(ask, lambda term: f"hasToken(lower(context), '{term}')")
    return _told(int(ask("SELECT count(*) FROM events")[0][0]), load, place, asked, chdb.__version__)


def sqlite(file: str, place: Path) -> dict[str, Any]:
    """Measure SQLite with FTS5."""
    from pyarrow import parquet

    connection = sqlite3.connect(place)
    began = time.perf_counter()
    connection.executescript(
        "PRAGMA journal_mode = off; PRAGMA synchronous = off;"
        f"CREATE TABLE events ({COLUMNS});"
        "CREATE VIRTUAL TABLE texts USING fts5 (body, content='', columnsize=0);"
    )
    for batch in parquet.ParquetFile(file).iter_batches(50_000, columns=COLUMNS.split(", ")):
        rows = [
            tuple(value.isoformat() if index == 0 else value for index, value in enumerate(row.values()))
            for row in batch.to_pylist()
        ]
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)
        last = connection.execute("SELECT max(rowid) FROM events").fetchone()[0]
        texts = ((last - len(rows) + 1 + at, f"{row[6]} {row[9]} {row[10] or ''}") for at, row in enumerate(rows))
        connection.executemany("INSERT INTO texts (rowid, body) VALUES (?, ?)", texts)
    for column in ("trace_id", "user_id, timestamp", "timestamp"):
        connection.execute(f"CREATE INDEX by_{column.split(',')[0]} ON events ({column})")
    connection.commit()
    load = time.perf_counter() - began

    def ask(sql: str) -> list[Any]:
        return connection.execute(sql.replace("median(", "avg(").replace("::", "")).fetchall()

    asked = _questions(ask, lambda term: f"rowid IN (SELECT rowid FROM texts WHERE texts MATCH '{term}')")
    return _told(ask("SELECT count(*) FROM events")[0][0], load, place, asked, sqlite3.sqlite_version)


def _questions(ask: Any, has: Any) -> dict[str, float]:
    """Ask what clew is asked; return medians in ms."""
    traces = [row[0] for row in ask("SELECT trace_id FROM events WHERE message = 'query_received' LIMIT 2000")]
    newest = str(ask("SELECT max(timestamp) FROM events")[0][0])[:10]
    statements = {
        "a trace by its id": [
            f"SELECT * FROM events WHERE trace_id = '{trace}' ORDER BY timestamp" for trace in traces[::211]
        ],
        "a user's newest 100": [
            f"SELECT * FROM events WHERE user_id = 'user-{user}' ORDER BY timestamp DESC LIMIT 100"
            for user in (0, 3, 10, 150, 700)
        ],
        "a day's errors by hour": [
            (
                "SELECT substr(CAST(timestamp AS varchar), 1, 13), count(*), median(duration_ms) FROM events "
                f"WHERE timestamp >= '{newest}' AND level = 'ERROR' GROUP BY 1 ORDER BY 1"
            )
        ],
        **{
            f"text, {name}": [f"SELECT * FROM events WHERE {has(term)} ORDER BY timestamp DESC LIMIT 100"]
            for name, term in TERMS.items()
        },
    }
    found: dict[str, float] = {}
    for name, several in statements.items():
        waits: list[float] = []
        for number in range(TIMES):
            began = time.perf_counter()
            ask(several[number % len(several)])
            waits.append((time.perf_counter() - began) * 1e3)
        found[name] = sorted(waits)[TIMES // 2]
    return found


def _told(count: int, load: float, place: Path, asked: dict[str, float], version: str) -> dict[str, Any]:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return {"version": version, "events": count, "load_events_s": count / load, "bytes": size / count, "p50_ms": asked}


if __name__ == "__main__":
    main()

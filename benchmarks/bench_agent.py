"""How fast the agent ships: ``python -m benchmarks.bench_agent``.

Three figures, on an embedded PostgreSQL with the schema that is shipped, indexes and all:

* *latency*: single events, ten a second, from before the call to the moment at which a query finds them;
* *throughput*: a backlog of events is written to the spool, then one agent ships it; timed from its first to its
  last commit, as the store sees them;
* *bare COPY*: the same rows into the same table by one binary ``COPY``, no spool, no decoding, no cursor: what the
  server and psycopg can do at best. It runs after the agent, on the table that the agent has filled.

The last two take turns, while the table grows. The first ``COPY``, into a table of one round, may be half as fast again as
all later ones and the agent's rate changes less, so the share is told of the first round as well as in the median.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from psycopg import sql

import clew
from benchmarks import workload
from benchmarks.machine import SCRATCH, describe
from clew.store.postgres.rows import COLUMNS
from clew.store.postgres.server import embedded
from clew.store.postgres.sink import _JsonbDumper
from clew.store.postgres.upkeep.migrate import migrate

__all__ = ["agent_page", "main", "run", "ship"]

BACKLOG_EVENTS: Final = 150_000
PROBES: Final = 100
PROBE_PAUSE_S: Final = 0.1
ROUNDS: Final = 5


def run(*, scale: float = 1.0) -> dict[str, Any]:
    """Measure.

    Args:
        scale: Factor on the numbers of events.

    Returns:
        ``machine``; ``latency_p50_ms``, ``latency_p95_ms``; ``agent_events_s``, ``copy_events_s``, ``ratio``;
        ``agent_mb`` (resident, at its highest), ``events``: medians of the rounds, the ratio too; ``rounds``: each of them.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=SCRATCH))
    with embedded.start(place / "postgres") as server:
        migrate(server.dsn)
        found = {"machine": describe(), **_latency(place / "probe", server.dsn, int(PROBES * scale))}
        rounds = [
            _throughput(place / f"backlog-{number}", server.dsn, int(BACKLOG_EVENTS * scale))
            for number in range(ROUNDS)
        ]
        return (
            found | {name: statistics.median(told[name] for told in rounds) for name in rounds[0]} | {"rounds": rounds}
        )


def agent_page(found: dict[str, Any]) -> str:
    """Write what ``run`` found as a table."""
    rows = [
        ("emit → found by a query, one event: p50", "–", f"{found['latency_p50_ms']:.0f} ms"),
        ("the same: p95", "≤ 250 ms", f"{found['latency_p95_ms']:.0f} ms"),
    ]
    for told, table in ((found["rounds"][0], "an empty table"), (found, f"a growing one, median of {ROUNDS} rounds")):
        rows += [
            (
                f"the agent's throughput, all indexes, {table}",
                "≥ 25,000 events/s",
                f"{told['agent_events_s']:,.0f} events/s",
            ),
            ("bare binary COPY of the same rows into the same table", "–", f"{told['copy_events_s']:,.0f} events/s"),
            ("the agent's share of that", "≥ 60 %", f"{told['ratio']:.0%}"),
        ]
    rows.append(
        (f"the agent's memory while it ships {found['events']:,.0f} events", "–", f"{found['agent_mb']:.0f} MB")
    )
    lines = ["| operation | goal | measured |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print(agent_page(run()))


def _latency(data: Path, dsn: str, probes: int) -> dict[str, float]:
    """Time single events from the call to the query that finds them."""
    agent = _start_agent(data, dsn)
    clew.configure(service="probe", data_dir=data, agent="external")
    log, waits = clew.get_logger(), list[float]()
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for number in range(probes + 10):
                trace = clew.span("probe")
                began = time.perf_counter()
                with trace:
                    log.info("probe", number=number)
                query = "SELECT 1 FROM events WHERE trace_id = %s AND kind = 'span'"
                while not connection.execute(query, [trace.trace_id]).fetchone():
                    time.sleep(0.001)
                waits.append((time.perf_counter() - began) * 1e3)
                time.sleep(PROBE_PAUSE_S)
    finally:
        clew.shutdown()
        agent.terminate()
        agent.wait()
    counted = sorted(waits[10:])
    return {
        "latency_p50_ms": counted[len(counted) // 2],
        "latency_p95_ms": counted[min(len(counted) - 1, int(len(counted) * 0.95))],
    }


def _throughput(data: Path, dsn: str, events: int) -> dict[str, float]:
    """Ship a backlog, then copy the same rows without an agent."""
    clew.configure(service=workload.SERVICE, environment="prod", version="1.4.2", data_dir=data, agent="external")
    log = clew.get_logger()
    workload.choose("mixed")
    for number in range(events // 25):
        with clew.trace_context(user_id=f"user-{number % 500}"), clew.span("request"):
            for _ in range(24):
                message, fields = workload.take()
                log.info(message, **fields)
    clew.shutdown()
    with psycopg.connect(dsn, autocommit=True) as connection:
        return ship(data, dsn, connection, events // 25 * 25, records_an_event=26 / 25)


def ship(
    data: Path, dsn: str, connection: psycopg.Connection[Any], events: int, *, records_an_event: float = 1.0
) -> dict[str, float]:
    """Have an agent ship what waits in *data*, then copy the same rows without one.

    Args:
        data: The data directory.
        dsn: The store.
        connection: A connection to it, in autocommit mode.
        events: How many rows there will be.
        records_an_event: Records on the spool for a row: the beginning of a span is shipped too, and is none.
    """
    before = _count(connection)
    agent = _start_agent(data, dsn)
    process, peak, first, last = psutil.Process(agent.pid), 0, 0.0, 0.0
    shipped, shipped_at_first = 0, 0
    while agent.poll() is None and shipped < events:
        peak = max(peak, process.memory_info().rss)
        now, found = time.perf_counter(), int((_count(connection) - before) / records_an_event)
        if found and not first:
            first, shipped_at_first = now, found
        if found > shipped:
            shipped, last = found, now
        time.sleep(0.01)
    agent.wait()
    agent_rate = (shipped - shipped_at_first) / (last - first) if last > first else 0.0  # too few to tell
    copy_rate = _copy_again(connection, shipped)
    return {
        "events": shipped,
        "agent_events_s": agent_rate,
        "copy_events_s": copy_rate,
        "ratio": agent_rate / copy_rate,
        "agent_mb": peak / 1e6,
    }


def _copy_again(connection: psycopg.Connection[Any], events: int) -> float:
    """Copy as many rows of the table into it again; return events/s."""
    names = [name for name, _ in COLUMNS]
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
    texts = sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(name)) if kind == "jsonb" else sql.Identifier(name)
        for name, kind in COLUMNS
    )
    rows = connection.execute(
        sql.SQL('SELECT {} FROM events ORDER BY "timestamp" DESC LIMIT {}').format(texts, events)
    ).fetchall()
    jsonb = {index for index, (_, kind) in enumerate(COLUMNS) if kind == "jsonb"}
    rows = [
        tuple(value.encode() if index in jsonb and value else value for index, value in enumerate(row)) for row in rows
    ]
    connection.adapters.register_dumper(bytes, _JsonbDumper)
    began = time.perf_counter()
    with (
        connection.transaction(force_rollback=True),  # what is measured after this meets each row once
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY events ({}) FROM STDIN (FORMAT binary)").format(columns)) as copy,
    ):
        copy.set_types([kind for _, kind in COLUMNS])
        for row in rows:
            copy.write_row(row)
    return len(rows) / (time.perf_counter() - began)


def _start_agent(data: Path, dsn: str) -> subprocess.Popen[bytes]:
    keep = {"CLEW_RETENTION_WARM_DAYS": "36500", "CLEW_RETENTION_HOT_DAYS": "36500"}
    environment = {**os.environ, "CLEW_DATA_DIR": str(data), "CLEW_DSN": dsn, **keep}
    command = [sys.executable, "-m", "clew.agent", "--until-idle"]
    data.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def _count(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT coalesce(sum(delivered), 0) FROM cursors").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()

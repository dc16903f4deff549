"""What answers cost while others write: ``python -m benchmarks --only living``, ``--only fresh`` and ``--only asked``.

*living*: ``GET /api/traces/{id}`` while 0, 12 and 50 processes of this host emit, 20 events a second each; rounds take turns.

*fresh*: ``GET /api/logs?q=WORD`` in a store whose million events are all of the last three quarters of an hour, while a process
emits 2,000 more a second and the agent ships and indexes them; and ``GET /api/lookup`` for an event of the last seconds.

*asked*: ``GET /api/lookup``, ``/api/errors`` and ``/api/costs`` in a store of 400,000 events of the last 24 hours.

Everything is a process of its own: PostgreSQL, the agent, the server, who emits. They share this machine's processors, so a
part of what is measured is that of the emitters and the agent working beside the server.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psycopg
from msgspec import json as fast_json
from psycopg.types.json import set_json_dumps

from benchmarks.machine import SCRATCH, describe, load_average
from benchmarks.statistics import quantile
from benchmarks.store_data import COMMON, END, MEDIUM, RARE, copy_rows, make_rows
from clew.store.postgres.connect import connect
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.recount import recount

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = ["asked_page", "fresh_page", "living_page", "run_asked", "run_fresh", "run_living"]

LIVING: Final = (0, 12, 50)
RATE_EACH: Final = 20
ASKED: Final = 100
ROUNDS: Final = 3

FRESH_EVENTS: Final = 1_000_000
FRESH_RATE: Final = 2000
FRESH_SPAN: Final = timedelta(minutes=45)
FRESH_ROUNDS: Final = 60
SETTLED: Final = 40_000
TERMS: Final = {
    "a rare word, one event of 100,000": RARE,
    "a medium word, one of 200": MEDIUM,
    "a common word, one of ten": COMMON,
    "a word that does not occur": "zzznothing",
    "a phrase": '"connection reset"',
    "a piece of the rare word": "*sarfaul*",
}
LOOKED_UP: Final = "an event of the last seconds, by its id"

ASKED_EVENTS: Final = 400_000
ASKED_TIMES: Final = 100
IDS: Final = {
    "a trace by its id": "trace_id::text",
    "a span by its id": "span_id::text",
    "a span by its W3C id": "right(replace(span_id::text, '-', ''), 16)",
    "an event by its id": "event_id::text",
    "a request by its id": "request_id",
    "a session by its id": "session_id",
    "an id that nothing has": "gen_random_uuid()::text",
}
QUESTIONS: Final = {
    "errors of 24 hours": ("/api/errors", {"since": "24h"}, 40),
    "costs of 24 hours, by line": ("/api/costs", {"since": "24h"}, None),
    "costs of 30 days, by line": ("/api/costs", {"since": "30d"}, None),
    "costs of 30 days, by user": ("/api/costs", {"since": "30d", "by": "user"}, None),
}


def run_living(*, scale: float = 1.0, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure the trace of a store whose events' producers live.

    Args:
        scale: Factor on the numbers of requests.
        rounds: How often each number of producers has its turn.

    Returns:
        ``machine``, ``load``; ``living``: p50 and p95 in ms of each round, by number of producers.
    """
    found: dict[str, Any] = {"machine": describe(), "load": [load_average()]}
    waits: dict[int, list[dict[str, float]]] = {number: [] for number in LIVING}
    with _store() as (dsn, place), _process("agent", "--data", str(place / "data"), "--dsn", dsn):
        with _emitters(place / "data", 2, 200):
            _wait(lambda: _count(dsn) > 2000, 60)
        with _server(place / "data", dsn) as client:
            for _ in range(rounds):
                for number in LIVING:
                    with _emitters(place / "data", number, RATE_EACH):
                        known = _count(dsn)
                        _wait(lambda known=known, more=number * 60: _count(dsn) >= known + more, 120)
                        waits[number].append(
                            _ask_each(client, [f"/api/traces/{id_}" for id_ in _newest(dsn, int(ASKED * scale))])
                        )
    found["load"].append(load_average())
    return found | {"living": {str(number): told for number, told in waits.items()}}


def run_fresh(*, scale: float = 1.0) -> dict[str, Any]:
    """Measure the search in a busy hour.

    Args:
        scale: Factor on the numbers of events and of requests.

    Returns:
        ``machine``, ``load``, ``events``; ``terms``: p50 and p95 of each; ``look_up``: those of an event; ``unindexed``: how many events had no index, before
        and after; ``pieces``: how many pieces there were at the end.
    """
    found: dict[str, Any] = {"machine": describe(), "load": [load_average()]}
    with _store() as (dsn, place):
        _fill(dsn, int(FRESH_EVENTS * scale), FRESH_SPAN)
        with (
            _process("agent", "--data", str(place / "data"), "--dsn", dsn),
            _emitters(place / "data", 1, FRESH_RATE),
            _server(place / "data", dsn) as client,
        ):
            _wait(lambda: _unindexed(dsn) < SETTLED, 600)
            found["unindexed"] = [_unindexed(dsn)]
            begun, before = time.perf_counter(), _count(dsn)
            waits: dict[str, list[float]] = {name: [] for name in [*TERMS, LOOKED_UP]}
            for _ in range(max(10, int(FRESH_ROUNDS * scale))):
                for name, term in TERMS.items():
                    waits[name].append(_timed(client, "/api/logs", {"q": term, "limit": "100"}))
                [newest] = _draw(dsn, "event_id::text", 1)
                waits[LOOKED_UP].append(_timed(client, "/api/lookup", {"id": newest}))
                time.sleep(0.2)
            found["unindexed"].append(_unindexed(dsn))
            found["shipped_events_s"] = (_count(dsn) - before) / (time.perf_counter() - begun)
        found |= {
            "events": _scalar(dsn, "SELECT count(*) FROM events"),
            "pieces": _scalar(dsn, "SELECT count(*) FROM pg_class WHERE relname ~ '_texts_\\d{8}_'"),
        }
    found["load"].append(load_average())
    summed = {name: _summed(times) for name, times in waits.items()}
    return found | {"look_up": summed.pop(LOOKED_UP), "terms": summed}


def run_asked(*, scale: float = 1.0) -> dict[str, Any]:
    """Measure looking up ids, the errors and the costs.

    Args:
        scale: Factor on the numbers of events and of requests.

    Returns:
        ``machine``, ``load``, ``events``; ``look_ups``: p50 and p95 in ms by what was looked up; ``questions``: the same of the others.
    """
    found: dict[str, Any] = {"machine": describe(), "load": [load_average()]}
    times = max(10, int(ASKED_TIMES * scale))
    with _store() as (dsn, place):
        _fill(dsn, int(ASKED_EVENTS * scale), timedelta(days=1))
        _count_costs(dsn)
        with _server(place / "data", dsn) as client:
            look_ups = {
                name: _ask(client, "/api/lookup", [{"id": id_} for id_ in _draw(dsn, column, times)])
                for name, column in IDS.items()
            }
            questions = {
                name: _ask(client, path, [parameters] * times) for name, (path, parameters, _) in QUESTIONS.items()
            }
        found["events"] = _scalar(dsn, "SELECT count(*) FROM events")
    found["load"].append(load_average())
    return found | {"look_ups": look_ups, "questions": questions}


def living_page(found: dict[str, Any]) -> str:
    """Write what ``run_living`` found as a table."""
    medians = {
        number: {key: statistics.median(told[key] for told in rounds) for key in ("p50", "p95")}
        for number, rounds in found["living"].items()
    }
    base = medians["0"]
    rows = [
        f"| {number} | {told['p50']:.1f} ms | {told['p50'] / base['p50']:.2f} × | {told['p95']:.1f} ms | {told['p95'] / base['p95']:.2f} × |"
        for number, told in medians.items()
    ]
    head = ["| living producers | p50 | × none | p95 | × none |", "| --- | ---: | ---: | ---: | ---: |"]
    return "\n".join([_where(found), "", *head, *rows])


def fresh_page(found: dict[str, Any]) -> str:
    """Write what ``run_fresh`` found as a table."""
    rows = [
        f"| {name} | ≤ 60 ms | {told['p50']:.0f} ms | {told['p95']:.0f} ms |" for name, told in found["terms"].items()
    ]
    found_up = found["look_up"]
    rows.append(f"| {LOOKED_UP} (`/api/lookup`) | ≤ 5 ms | {found_up['p50']:.1f} ms | {found_up['p95']:.1f} ms |")
    before, after = found["unindexed"]
    text = (
        f"{found['events']:,} events in the store at the end, {found['shipped_events_s']:,.0f} a second coming in; {before:,} of all had no index when it began and "
        f"{after:,} when it ended; {found['pieces']} pieces."
    )
    return "\n".join(
        [
            f"{_where(found)} {text}",
            "",
            "| newest 100 that hold | goal, p95 | p50 | p95 |",
            "| --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def asked_page(found: dict[str, Any]) -> str:
    """Write what ``run_asked`` found as a table."""
    rows = [
        f"| {name} | `/api/lookup` | ≤ 5 ms | {took['p50']:.1f} ms | {took['p95']:.1f} ms |"
        for name, took in found["look_ups"].items()
    ]
    for name, took in found["questions"].items():
        path, _, goal = QUESTIONS[name]
        limit = f"≤ {goal} ms" if goal else "–"
        rows.append(f"| {name} | `{path}` | {limit} | {took['p50']:.1f} ms | {took['p95']:.1f} ms |")
    head = ["| asked | path | goal | p50 | p95 |", "| --- | --- | ---: | ---: | ---: |"]
    return "\n".join([f"{_where(found)} {found['events']:,} events.", "", *head, *rows])


def _where(found: dict[str, Any]) -> str:
    machine = found["machine"]
    before, after = found["load"]
    return (
        f"Measured on {machine['day']} at commit `{machine['commit']}`: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"load average {before:g} before, {after:g} after."
    )


@contextmanager
def _store() -> Generator[tuple[str, Path]]:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        with embedded.start(place / "postgres") as server:
            migrate(server.dsn)
            yield server.dsn, place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _process(*arguments: str) -> Generator[subprocess.Popen[str]]:
    environment = {**os.environ, "CLEW_RATE_LIMIT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "clew", *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def _server(data: Path, dsn: str) -> Generator[httpx.Client]:
    with _process("server", "--data", str(data), "--dsn", dsn, "--port", "0", "--json") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            yield client


@contextmanager
def _emitters(data: Path, number: int, rate: float) -> Generator[None]:
    with ExitStack() as stack:
        for index in range(number):
            command = [sys.executable, "-m", "benchmarks.answers_emitter", str(data), f"service-{index % 8}", str(rate)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE)
            stack.callback(process.wait, timeout=60)
            assert process.stdin is not None
            stack.callback(process.stdin.close)
        yield


def _fill(dsn: str, events: int, span: timedelta) -> None:
    """Fill a time that ends now."""
    set_json_dumps(fast_json.encode)
    end = datetime.now(UTC)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for day in {(end - span).date(), end.date()}:
            connection.execute("SELECT ensure_partition(%s)", [day])
        rows = _shifted(make_rows(events, days=1), end, span)
        while copy_rows(connection, islice(rows, 20_000)):
            pass


def _shifted(rows: Iterator[tuple[Any, ...]], end: datetime, span: timedelta) -> Iterator[tuple[Any, ...]]:
    """Move the rows of a day into a span of time."""
    for row in rows:
        yield (end - (END - row[0]) / timedelta(days=1) * span, *row[1:])


def _count_costs(dsn: str) -> None:
    """Decide what counts of the events, as the sink does for those that come by the spool."""
    with connect(dsn) as connection:
        connection.execute(
            "INSERT INTO recounts (day) SELECT DISTINCT (\"timestamp\" AT TIME ZONE 'UTC')::date FROM events"
        )
        for _ in recount(connection):
            pass
        connection.execute("VACUUM ANALYZE events")
        connection.execute("VACUUM ANALYZE ledger")


def _ask_each(client: httpx.Client, paths: list[str]) -> dict[str, float]:
    client.get(paths[0]).raise_for_status()
    return _summed([_timed(client, path) for path in paths])


def _ask(client: httpx.Client, path: str, parameters: list[dict[str, str]]) -> dict[str, float]:
    client.get(path, params=parameters[0]).raise_for_status()
    return _summed([_timed(client, path, each) for each in parameters])


def _timed(client: httpx.Client, path: str, parameters: dict[str, str] | None = None) -> float:
    began = time.perf_counter()
    client.get(path, params=parameters).raise_for_status()
    return (time.perf_counter() - began) * 1e3


def _summed(waits: list[float]) -> dict[str, float]:
    rising = sorted(waits)
    return {"p50": quantile(rising, 0.5), "p95": quantile(rising, 0.95)}


def _count(dsn: str) -> int:
    return _scalar(dsn, "SELECT coalesce(sum(delivered), 0)::bigint FROM cursors")


def _unindexed(dsn: str) -> int:
    """Count the events behind the last piece of the index of texts."""
    return _scalar(
        dsn,
        "SELECT count(*) FROM events WHERE \"timestamp\" >= coalesce((SELECT date_trunc('day', now(), 'UTC') + max(right(relname, 8)::int)"
        " * interval '1 ms' FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid WHERE indisvalid"
        " AND relname ~ (to_char(now() AT TIME ZONE 'UTC', '\"events_\"YYYYMMDD') || '_texts_\\d{8}_\\d{8}$')), '-infinity')",
    )


def _newest(dsn: str, number: int) -> list[str]:
    """Draw finished traces of the last seconds."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT trace_id::text FROM events WHERE kind = 'span' AND parent_span_id IS NULL ORDER BY \"timestamp\" DESC LIMIT %s",
            [number],
        ).fetchall()
    return [row[0] for row in rows]


def _draw(dsn: str, column: str, number: int) -> list[str]:
    """Draw ids of different spans: of the last seconds for one, else of all the time."""
    order = '"timestamp" DESC' if number == 1 else "random()"
    statement = f"SELECT {column} FROM events WHERE kind = 'span' ORDER BY {order} LIMIT {number}"
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(statement.encode()).fetchall()]


def _scalar(dsn: str, statement: str) -> int:
    with psycopg.connect(dsn) as connection:
        [(value,)] = connection.execute(statement.encode()).fetchall()
    return int(value)


def _wait(is_done: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError("the agent did not keep up")
        time.sleep(0.2)

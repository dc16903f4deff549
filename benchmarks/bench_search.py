"""Full-text search: what its index costs, and what it saves. ``python -m benchmarks.bench_search [--days N]``.

A server of its own in a temporary directory. Each day has as many events as a store of ten million over thirty days;
the last day is the one that is still open. Measured are

* the rate of ``COPY``, in batches of a thousand, into a table with the indexes we have, and with one more that grows
  along: of words, or of trigrams (rounds interleaved);
* for both, made at once for a whole day: bytes, time, and a look-up;
* the newest hundred that hold a term, as ``clew logs`` asks for them, with no index of texts, with one on the days that
  are over (as it is), and with one on every day.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks.store_data import COMMON, END, MEDIUM, RARE, copy_rows, fill, make_rows
from clew.query import parse
from clew.store.postgres.connect import connect
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import read
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.search_index import index_closed_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS_PER_DAY: Final = 333_333
COPIED: Final = 30_000
BATCH: Final = 1000
ROUNDS: Final = 3

WORDS: Final = r"""
CREATE FUNCTION event_words(message text, error jsonb, context jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple', regexp_replace(
    lower(replace(message || coalesce(error ->> 'message', '') || coalesce(error ->> 'stack', ''), '\', ' ')
        || jsonb_path_query_array(context, '$.** ? (@.type() == "string")')::text),
    '(\\u[0-9a-f]{4}|\\.|[^[:alnum:]\\])+', ' ', 'g'))
"""
KINDS: Final = {
    "no index of texts": "",
    "words": "event_words(message, error, context)",
    "trigrams": "event_texts(message, error, context) gin_trgm_ops",
}
LOOKS: Final = {
    "words": "event_words(message, error, context) @@ plainto_tsquery('simple', %(term)s)",
    "trigrams": "event_texts(message, error, context) ILIKE '%%' || %(term)s || '%%'",
}
TERMS: Final = (
    RARE,
    MEDIUM,
    COMMON,
    "zzznothing",
    '"connection reset"',
    "*sarfaul*",
    f"user:user-3 {MEDIUM}",
    f"{MEDIUM} -{COMMON}",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_search", description=__doc__)
    parser.add_argument("--days", type=int, default=3)
    days = parser.parse_args().days
    with tempfile.TemporaryDirectory() as directory, embedded.start(Path(directory) / "postgres") as server:
        measure_copy(server.dsn)
        dsn = make_database(server.dsn, "month")
        fill(dsn, EVENTS_PER_DAY * days, days=days)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(WORDS)
            measure_sizes(connection, f"events_{END - timedelta(days=2):%Y%m%d}")
            measure_search(connection, dsn)


def make_database(server: str, name: str) -> str:
    """Make an empty database; return its DSN."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def measure_copy(server: str) -> None:
    """Print how fast events go in beside each kind of index."""
    rows = list(make_rows(COPIED, days=1))
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind, expression in KINDS.items():
            dsn = make_database(server, "copied")
            migrate(dsn)
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("SELECT ensure_partition(%s)", [(END - timedelta(days=1)).date()])
                if expression:
                    connection.execute(WORDS)
                    connection.execute(f"CREATE INDEX ON events USING gin ({expression})")
                begun = time.perf_counter()
                for start in range(0, COPIED, BATCH):
                    copy_rows(connection, rows[start : start + BATCH])
                rates[kind].append(COPIED / (time.perf_counter() - begun))
    print("\nindex that grows along, COPY events/s: median (all rounds)")
    for kind, told in rates.items():
        print(f"  {kind:18} {median(told):8,.0f}  ({', '.join(f'{rate:,.0f}' for rate in told)})")


def measure_sizes(connection: psycopg.Connection[Any], day: str) -> None:
    """Print what an index of a whole day costs, made at once, and what a look-up in it takes."""
    [(events, heap, others)] = connection.execute(
        f"SELECT count(*), pg_relation_size('{day}'), pg_indexes_size('{day}') FROM {day}"
    ).fetchall()
    print(f"\none day, {events:,} events: table {heap / events:.0f} B/event, its other indexes {others / events:.0f}")
    for kind, look in LOOKS.items():
        begun = time.perf_counter()
        connection.execute(f"CREATE INDEX measured ON {day} USING gin ({KINDS[kind]})")
        seconds = time.perf_counter() - begun
        connection.execute(f"ANALYZE {day}")
        [(size,)] = connection.execute("SELECT pg_relation_size('measured')").fetchall()
        connection.execute("SET enable_seqscan = off")
        terms = [RARE, MEDIUM, COMMON, *(["sarfaul"] if kind == "trigrams" else [])]
        counted = f"SELECT count(*) FROM {day} WHERE {look}"
        times = {term: repeat(partial(connection.execute, counted, {"term": term})) for term in terms}
        connection.execute("RESET enable_seqscan")
        connection.execute("DROP INDEX measured")
        told = ", ".join(f"{term} {found[0]:.1f} ms" for term, found in times.items())
        print(
            f"  {kind:10} {size / events:4.0f} B/event, {seconds / events * 1e6:3.0f} µs/event to make; count of {told}"
        )


def measure_search(connection: psycopg.Connection[Any], dsn: str) -> None:
    """Print how long the first page of each term takes, in each state of the indexes."""
    states: dict[str, Callable[[], object]] = {
        "none": lambda: None,
        "closed days": lambda: list(index_closed_days(connection, END - timedelta(seconds=1))),
        "every day": lambda: list(index_closed_days(connection, END + timedelta(days=1))),
    }
    print("\nnewest 100, ms: median / slowest of 9")
    print(f"  {'index of texts':22}", *(f"{state:>18}" for state in states))
    found: dict[str, list[str]] = {term: [] for term in TERMS}
    for prepare in states.values():
        prepare()
        with connect(dsn, is_reader=True) as reader:
            for term, told in found.items():
                middle, slowest = repeat(lambda term=term: read(reader, fetch_logs(LogFilter(query=parse(term)))))
                told.append(f"{middle:10.1f} / {slowest:5.1f}")
    for term, told in found.items():
        print(f"  {term:22}", *told)


def repeat(do: Callable[[], object], times: int = 9) -> tuple[float, float]:
    """Do something a few times; return the median and the greatest time, in milliseconds."""

    def once() -> Iterator[float]:
        for _ in range(times):
            begun = time.perf_counter()
            do()
            yield (time.perf_counter() - begun) * 1e3

    taken = list(once())
    return median(taken), max(taken)


if __name__ == "__main__":
    main()

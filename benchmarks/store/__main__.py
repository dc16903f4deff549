"""Measure the store: ``python -m benchmarks.store [--events N] [--write] [--peers PYTHON] [--data DIR]``.

``make bench-store`` runs it with a Python for the peers. With ``--write`` the tables go into ``docs/benchmarks.md`` and the figures into
``benchmarks/results/store-N.json``; those of two sizes tell of a third. A million events take some two minutes on two cores, ten million ten minutes and 15 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.machine import ROOT, SCRATCH, describe, load_average
from benchmarks.report import put_between
from benchmarks.store.build import build
from benchmarks.store.page import store_page
from benchmarks.store.queries import ask_all, ask_command_line, ask_over_http, draw_values
from clew.store.postgres.server import embedded

PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
PEER_EVENTS = 1_000_000


def main() -> None:
    """Build, ask, compare; print or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description="Measure the store.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and benchmarks/results/")
    parser.add_argument("--peers", type=Path, help="a Python with duckdb, chdb and pyarrow; no peers without")
    parser.add_argument("--data", type=Path, default=SCRATCH, help="where the store is built, and removed again")
    told = parser.parse_args()
    told.data.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=told.data))
    try:
        found = measure(place, told.events, told.peers)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if told.write:
        (RESULTS / f"store-{told.events}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        write_page()
    print(store_page(found))


def write_page() -> None:
    """Write the tables of the largest store that was measured, and of one ten times as large by the one before."""
    files = sorted(RESULTS.glob("store-*.json"), key=lambda path: int(path.stem.partition("-")[2]))
    *smaller, largest = [json.loads(path.read_text("utf-8")) for path in files]
    page = store_page(largest, smaller[-1] if smaller else None)
    PAGE.write_text(put_between(PAGE.read_text("utf-8"), "store", page), "utf-8")


def measure(place: Path, events: int, peers: Path | None) -> dict[str, Any]:
    """Measure everything in a directory of its own."""
    found: dict[str, Any] = {"machine": describe(), "load_before": load_average()}
    with embedded.start(place / "postgres") as server:
        found["build"] = _said("build", lambda: build(server.dsn, place / "data", events))
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            values = draw_values(connection)
        found["sql"] = _said("ask by SQL", lambda: ask_all(server.dsn, values))
        found["http"] = _said("ask over HTTP", lambda: ask_over_http(server.dsn, place / "data", values))
        found["cli"] = _said("ask on the command line", lambda: ask_command_line(server.dsn, values))
    is_dropped = _drop_cache()
    with embedded.start(place / "postgres") as server:
        found["cold"] = _said("ask cold", lambda: ask_all(server.dsn, values, times=1))
        found["is_kernel_cache_dropped"] = is_dropped
        if peers is not None:
            found["peers"] = _said("peers", lambda: _measure_peers(server.dsn, place, peers))
    found["load_after"] = load_average()
    return found


def _measure_peers(dsn: str, place: Path, peers: Path) -> dict[str, Any]:
    """Export events of the newest days, and have the peers take them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            'SELECT "timestamp" FROM events ORDER BY 1 DESC OFFSET %s LIMIT 1', [PEER_EVENTS]
        ).fetchone()
    file = place / "events.parquet"
    since = [] if row is None else ["--since", row[0].isoformat()]
    command = [sys.executable, "-m", "clew", "export", "--format", "parquet", "-o", str(file), "--dsn", dsn, *since]
    subprocess.run(command, check=True)
    script = Path(__file__).with_name("peers.py")
    ran = subprocess.run([peers, script, file, place / "peers"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ran.stdout.splitlines()[-1])


def _drop_cache() -> bool:
    """Have the kernel forget the files; false where that is not allowed."""
    with suppress(OSError):
        subprocess.run(["sync"], check=False)
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    return False


def _said(what: str, do: Any) -> Any:
    began = time.perf_counter()
    print(f"{what} …", file=sys.stderr, flush=True)
    result = do()
    print(f"{what}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    main()

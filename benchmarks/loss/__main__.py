"""Measure what is lost: ``python -m benchmarks.loss [--write] [--quick] [--only ROW …] [--peers NAME …]``.

With ``--write`` the raw figures go to ``benchmarks/results/loss.json`` and the table into ``docs/benchmarks.md``,
between its markers; without it the table is printed. Nothing leaves this machine, apart from pip installing the
peers into ``--cache`` the first time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.loss.backends import HttpBackend, PostgresBackend
from benchmarks.loss.contestants import CONTESTANTS, Contestant, install
from benchmarks.loss.page import loss_page
from benchmarks.loss.rows import ROWS, Job, Lengths
from benchmarks.machine import ROOT, SCRATCH, describe, load_average
from benchmarks.report import put_between
from clew.store.postgres.server import embedded

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE: Final = ROOT / "docs" / "benchmarks.md"
RESULTS: Final = ROOT / "benchmarks" / "results"
CACHE: Final = Path.home() / ".cache" / "clew-bench"
WAITING_AT_ONCE: Final = 20
QUICK: Final = Lengths(outage=4, long_outage=20, grace=40, long_grace=60, exit=30, settle=10)


def main() -> None:
    """Measure what was asked for; print or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss", description="Measure what is lost.")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and benchmarks/results/")
    parser.add_argument("--quick", action="store_true", help="short outages, to check the method")
    parser.add_argument("--only", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), help="some rows")
    parser.add_argument("--peers", nargs="+", help="some contestants, by the beginning of their names")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where the peers are installed (default {CACHE})")
    told = parser.parse_args()
    if told.write and (told.quick or told.peers or tuple(told.only) != tuple(ROWS)):
        parser.error("only a whole run is written")
    found = measure(told.only, told.peers, told.cache.expanduser().absolute(), is_quick=told.quick)
    if not told.write:
        print(loss_page(found))
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "loss.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    PAGE.write_text(put_between(PAGE.read_text("utf-8"), "loss", loss_page(found)), "utf-8")
    print(f"wrote loss into {PAGE.relative_to(ROOT)}")


def measure(rows: Sequence[str], peers: list[str] | None, cache: Path, *, is_quick: bool) -> dict[str, Any]:
    """Run *rows* for the contestants; return everything that was found."""
    lengths, began, load = QUICK if is_quick else Lengths(), time.time(), load_average()
    wanted = [one for one in CONTESTANTS if not peers or one.name.startswith(tuple(peers))]
    versions, missing = install_all(wanted, cache)
    present = [one for one in wanted if one.name in versions]
    place = SCRATCH / "loss"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    results: dict[str, dict[str, Any]] = {one.name: {} for one in present}
    with embedded.start(place / "postgres") as server, ThreadPoolExecutor(WAITING_AT_ONCE) as waiting:
        run = Run(cache, place, server.dsn, lengths, results)
        # What only waits runs side by side; what works, one at a time beside it; what is timed, alone at the end.
        kinds = {kind: [row for row in rows if ROWS[row][0] == kind] for kind in ("waits", "works", "alone")}
        futures = [waiting.submit(run.cell, row, one) for row in kinds["waits"] for one in present if not one.is_extra]
        for row in kinds["works"]:
            for one in present:
                if not one.is_extra or row == "context":
                    run.cell(row, one)
        for future in futures:
            future.result()
        for row in kinds["alone"]:
            for one in present:
                if not one.is_extra:
                    run.cell(row, one)
    return {
        "command": f"python -m benchmarks.loss{' --quick' if is_quick else ''}",
        "machine": describe(),
        "load": [load, load_average()],
        "took_s": round(time.time() - began),
        "outage_s": [lengths.outage, lengths.long_outage],
        "grace_s": [lengths.grace, lengths.long_grace],
        "versions": versions,
        "not_installed": missing,
        "results": results,
    }


def install_all(wanted: list[Contestant], cache: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Install who takes part; return the versions, and who could not be installed with the reason."""
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    cache.mkdir(parents=True, exist_ok=True)
    for one in wanted:
        version, reason = install(one, cache)
        if version is None:
            missing[one.name] = reason
        else:
            versions[one.name] = version
    return versions, missing


class Run:
    """The cells of one run, each in a directory of its own."""

    def __init__(
        self, cache: Path, place: Path, server: str, lengths: Lengths, results: dict[str, dict[str, Any]]
    ) -> None:
        self._cache, self._place, self._server, self._lengths = cache, place, server, lengths
        self._results = results
        self._lock = threading.Lock()

    def cell(self, row: str, contestant: Contestant) -> None:
        """Measure one cell; what goes wrong with it stands in it."""
        name = f"{row}-{contestant.name}".replace(",", "").replace(" ", "-").replace("=", "-")
        home = self._place / name
        home.mkdir()
        backend, found, began = None, {}, time.monotonic()
        try:
            backend = (
                PostgresBackend(self._server, name.lower())
                if contestant.is_clew
                else HttpBackend(contestant, self._cache, home)
            )
            found = ROWS[row][2](Job(contestant, self._cache, home, backend, self._lengths))
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        finally:
            if backend is not None:
                with contextlib.suppress(Exception):
                    found["unread"] = list(backend.failed)
                    backend.settled(home)
                    backend.close()
        self._results[contestant.name][row] = found
        with self._lock:
            print(f"{time.monotonic() - began:5.0f} s  {contestant.name}, {row}: {found}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

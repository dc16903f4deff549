"""A program that emits at a steady pace until its standard input ends: logs in spans, and poison if asked to.

Run as ``python steady.py COUNTERS [--poison]``. Every now and then it closes its log and goes on in a new
one, as a service that is deployed anew. Poison is what no PostgreSQL takes, put past the encoder: it must be
quarantined, and what stands beside it must arrive. Lanes and counters are those of ``victim``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from msgspec import json

import clew
from clew import config
from clew.spool.writer import Writer
from support.victim import Lane

BURST = 20
PAUSE_S = 0.01
LIFE_OF_A_LOG_S = 0.2
POISON = b'{"kind":"log","poison":true}'

_is_ending = threading.Event()


def emit_steadily(counters: Path) -> None:
    """Emit bursts, each in a span."""
    lane = Lane(counters)
    while not _is_ending.wait(PAUSE_S):
        with clew.span("burst"):
            lane.emit(BURST)


def emit_poison(counters: Path) -> None:
    """Append good events and a poisoned one by turns, in logs of their own; count the poison in ``.poison``."""
    lane, poisoned = Lane(counters), 0
    writer, began = _open(), time.monotonic()
    while not _is_ending.wait(PAUSE_S):
        for _ in range(BURST):
            writer.append(_event(lane.name, lane.returned))
            lane.count()
        writer.append(POISON)
        poisoned += 1
        (counters.parent / f"{os.getpid()}.poison").write_text(str(poisoned))
        if time.monotonic() - began > LIFE_OF_A_LOG_S:
            writer.close()
            writer, began = _open(), time.monotonic()
    writer.close()


def _open() -> Writer:
    settings = config.load()
    return Writer(settings.spool_dir, service="poison", segment_bytes=settings.segment_bytes)


def _event(lane: str, n: int) -> bytes:
    return json.encode(
        {
            "timestamp": datetime.now(UTC),
            "kind": "log",
            "level": "INFO",
            "message": "told",
            "service": "poison",
            "stage": "other",
            "context": {"lane": lane, "n": n},
            "metrics": {},
        }
    )


def main(counters: Path, *, with_poison: bool) -> None:
    """Emit until standard input ends."""
    clew.configure()
    threads = [threading.Thread(target=emit_steadily, args=(counters,)) for _ in range(2)]
    if with_poison:
        threads.append(threading.Thread(target=emit_poison, args=(counters,)))
    for thread in threads:
        thread.start()
    restarter = threading.Thread(target=_restart_logs)
    restarter.start()
    sys.stdin.read()
    _is_ending.set()
    for thread in [*threads, restarter]:
        thread.join()


def _restart_logs() -> None:
    while not _is_ending.wait(LIFE_OF_A_LOG_S):
        clew.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), with_poison="--poison" in sys.argv)

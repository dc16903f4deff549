"""A program that fills its spool, and is asked on its standard input for the next step.

Run as ``python filler.py COUNTERS``. Each line it reads is ``LEVEL TIMES BYTES``, or ``flush``, ``break-sync``,
``mend-sync``, ``clock YEAR``, ``await-refusal LEVEL``; it answers each with one line of JSON. Lanes and counters
are those of ``victim``; a dropped emit has returned too.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import json

import clew
from clew import clock, process
from support.victim import Lane

_fdatasync = os.fdatasync


def _refuse_to_sync(_fd: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def _losses() -> dict[str, int]:
    writer = process._process.writer
    return {} if writer is None else writer.losses.totals()


def _emit(lane: Lane, level: str, times: int, size: int) -> dict[str, int]:
    emit, pad = getattr(clew.get_logger(), level), "x" * size
    for _ in range(times):
        emit("told", lane=lane.name, n=lane.returned, pad=pad)
        lane.count()
    return _losses()


def _await_refusal(lane: Lane, level: str) -> dict[str, int]:
    """Emit one event at a time until one of this level is refused for its low priority."""
    deadline = time.monotonic() + 20
    while not (losses := _emit(lane, level, 1, 0)).get("low_priority") and time.monotonic() < deadline:
        time.sleep(0.02)
    return losses


def _step(lane: Lane, words: list[str]) -> Any:
    match words:
        case ["flush"]:
            return clew.flush(5)
        case ["break-sync"]:
            os.fdatasync = _refuse_to_sync
        case ["mend-sync"]:
            os.fdatasync = _fdatasync
        case ["clock", year]:
            clock.now = lambda: datetime(int(year), 1, 1, tzinfo=UTC)
        case ["await-refusal", level]:
            return _await_refusal(lane, level)
        case [level, times, size]:
            return _emit(lane, level, int(times), int(size))
    return None


def main() -> None:
    """Do as told until standard input ends."""
    clew.configure()
    lane = Lane(Path(sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.buffer.write(json.encode(_step(lane, line.split())) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

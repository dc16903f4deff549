"""A program that fills its spool, and is asked on its standard input for the next step.

Run as ``python filler.py COUNTERS``. Each line it reads is ``LEVEL TIMES BYTES``, or ``flush``, ``break-sync``,
``mend-sync``, ``clock YEAR``, ``await-refusal LEVEL``, ``spans TIMES``, ``vanish``, or what daemons and backups do to the files of a
process: ``read-spool``, ``closerange``, ``daemonize``, ``daemon-context``, ``daemon-context-detached``, ``open-own``,
``check-own``. It answers each with one line of JSON. Lanes and counters are those of ``victim``; a dropped emit has
returned too.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import json

import clew
from clew import clock, config
from clew.emit import process
from support.victim import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

OWN_FILES = 40
OWN_BYTES = b"mine"
_fdatasync = os.fdatasync
_own: list[int] = []
_open_spans: list[Any] = []


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


def _read_spool() -> int:
    """Read every file of the spool, as a backup does, and close it."""
    files = [path for path in config.load().spool_dir.rglob("*") if path.is_file()]
    for path in files:
        path.read_bytes()
    return len(files)


def _daemonize() -> None:
    """Go on in a grandchild, as daemons do."""
    for step in (os.setsid, lambda: None):
        if os.fork():
            os._exit(0)
        step()


def _enter_daemon_context(*, is_detached: bool) -> None:
    """Go on as python-daemon has it, which closes all files."""
    from daemon import DaemonContext

    streams = {"stdin": sys.stdin, "stdout": sys.stdout, "stderr": sys.stderr}
    DaemonContext(detach_process=is_detached, **streams).open()


def _open_own() -> None:
    """Open files of the application, which get the numbers that are free."""
    for _ in range(OWN_FILES):
        _own.append(os.memfd_create("own"))
        os.write(_own[-1], OWN_BYTES)


def _begin_spans(times: str) -> int:
    for _ in range(int(times)):
        _open_spans.append(clew.span("left open", pad="x" * 200))
        _open_spans[-1].__enter__()
    return len(_open_spans)


def _set_sync(sync: Callable[[int], None]) -> None:
    os.fdatasync = sync


def _set_clock(year: str) -> None:
    clock.now = lambda: datetime(int(year), 1, 1, tzinfo=UTC)


_STEPS: dict[str, Callable[..., Any]] = {
    "flush": lambda: clew.flush(5),
    "break-sync": lambda: _set_sync(_refuse_to_sync),
    "mend-sync": lambda: _set_sync(_fdatasync),
    "clock": _set_clock,
    "vanish": lambda: os._exit(0),
    "spans": _begin_spans,
    "read-spool": _read_spool,
    "closerange": lambda: os.closerange(3, 4096),
    "daemonize": _daemonize,
    "daemon-context": lambda: _enter_daemon_context(is_detached=False),
    "daemon-context-detached": lambda: _enter_daemon_context(is_detached=True),
    "open-own": _open_own,
    "check-own": lambda: all(os.pread(fd, 99, 0) == OWN_BYTES for fd in _own),
}


def _step(lane: Lane, words: list[str]) -> Any:
    match words:
        case ["await-refusal", level]:
            return _await_refusal(lane, level)
        case [name, *options] if name in _STEPS:
            return _STEPS[name](*options)
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

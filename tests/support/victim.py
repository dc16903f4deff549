"""A program that emits from many places at once, counts what has returned, and dies as it is told.

Run as ``python victim.py PLACE WAY COUNTERS EMITS``. Each place that emits has a *lane*: a file in
the directory COUNTERS whose eight bytes say how many of its emits have returned. The file is mapped, so
that the count survives whatever ends the process. Every event carries its lane and its number there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import mmap
import multiprocessing
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import clew

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PLACES", "WAYS", "Lane", "die"]

THREADS = 3
_lanes = itertools.count()


class Lane:
    """One place that emits, in one process.

    Args:
        counters: The directory of the counters.
    """

    def __init__(self, counters: Path) -> None:
        self.name = f"{os.getpid()}-{next(_lanes)}"
        self.returned = 0
        fd = os.open(counters / self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.truncate(fd, 8)
        self._counter = mmap.mmap(fd, 8)
        os.close(fd)
        self._log = clew.get_logger()

    def emit(self, times: int = 1, **fields: object) -> None:
        """Emit, and count each emit when it has returned."""
        for _ in range(times):
            self._log.info("told", lane=self.name, n=self.returned, **fields)
            self.count()

    def count(self) -> None:
        """Count one emit that has returned."""
        self.returned += 1
        self._counter[:] = self.returned.to_bytes(8, "little")


def die(way: str) -> None:
    """End this process in one of the ways there are."""
    ways: dict[str, Callable[[], object]] = {
        "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "sigterm": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "os-exit": lambda: os._exit(7),
        "sys-exit": lambda: sys.exit(8),
        "segfault": lambda: ctypes.string_at(0),
        "exception": _raise,
    }
    ways[way]()


def _raise() -> NoReturn:
    message = "nobody handles this"
    raise RuntimeError(message)


def _emit_for_ever(counters: Path, started: threading.Event | None = None, emits: int = 0) -> None:
    lane = Lane(counters)
    while True:
        lane.emit()
        if started is not None and lane.returned == emits:
            started.set()


def start_lanes(counters: Path, emits: int, threads: int = THREADS) -> None:
    """Start threads that emit for ever; return when each has emitted *emits* events."""
    reached = [threading.Event() for _ in range(threads)]
    for event in reached:
        threading.Thread(target=_emit_for_ever, args=(counters, event, emits), daemon=True).start()
    for event in reached:
        event.wait()


def in_threads(way: str, counters: Path, emits: int) -> None:
    """Die in the main thread while others emit."""
    start_lanes(counters, emits)
    die(way)


def in_tasks(way: str, counters: Path, emits: int) -> None:
    """Die in the main coroutine while other tasks emit."""

    async def work(reached: asyncio.Event) -> None:
        lane = Lane(counters)
        async with clew.span("task"):
            while True:
                lane.emit()
                if lane.returned == emits:
                    reached.set()
                await asyncio.sleep(0)

    async def main() -> None:
        reached = [asyncio.Event() for _ in range(THREADS)]
        tasks = [asyncio.create_task(work(event)) for event in reached]
        for event in reached:
            await event.wait()
        die(way)
        await asyncio.gather(*tasks)

    asyncio.run(main())


def _child(way: str, counters: Path, emits: int) -> None:
    clew.configure()  # a spawned child sets up clew itself; in a forked one this changes nothing
    start_lanes(counters, emits, threads=2)
    die(way)


def _in_processes(method: str, way: str, counters: Path, emits: int) -> None:
    start_lanes(counters, 10, threads=1)  # a fork happens in the midst of emits
    mine = Lane(counters)
    context = multiprocessing.get_context(method)
    children = [context.Process(target=_child, args=(way, counters, emits)) for _ in range(2)]
    for child in children:
        mine.emit(10)
        child.start()
    for child in children:
        while child.is_alive():
            mine.emit(10)
            child.join(0.002)
    mine.emit(10)


def in_forked_processes(way: str, counters: Path, emits: int) -> None:
    """Die in children that ``multiprocessing`` forks while the parent emits."""
    _in_processes("fork", way, counters, emits)


def in_spawned_processes(way: str, counters: Path, emits: int) -> None:
    """Die in children that ``multiprocessing`` spawns while the parent emits."""
    _in_processes("spawn", way, counters, emits)


def in_pool(way: str, counters: Path, emits: int) -> None:
    """Die in children forked ahead of their tasks, as Celery's are: those that live end by ``os._exit``."""
    start_lanes(counters, 10, threads=1)
    mine = Lane(counters)
    mine.emit(10)
    children: list[int] = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                for _ in range(3):  # tasks, one after the other
                    with clew.span("task"):
                        Lane(counters).emit(emits // 3)
                if number % 2:
                    start_lanes(counters, 1, threads=1)
                    die(way)
            os._exit(0)
        children.append(child)
        mine.emit(10)
    for child in children:
        os.waitpid(child, 0)
    mine.emit(10)


PLACES = {
    "threads": in_threads,
    "tasks": in_tasks,
    "fork": in_forked_processes,
    "spawn": in_spawned_processes,
    "pool": in_pool,
}
WAYS = ("sigkill", "sigterm", "os-exit", "sys-exit", "segfault", "exception")

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    clew.configure()
    PLACES[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))

"""The thread that does the slow work of one writer: the application's threads never open, allocate, map or sync anything."""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

from clew.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WATCH_S", "Flusher"]

WATCH_S = 0.25
"""How often a writer looks whether its files are still its own, in seconds, however seldom it flushes."""

JOIN_S = 2.0


class Flusher:
    """Run rounds of a writer's duties: every interval, or when woken.

    Args:
        work: One round, ``work(is_flush, is_asked)``: whether to bring data to the disk, and whether somebody waits for it. True when
            everything that was stored is on the disk.
        interval_s: How often to flush, in seconds.

    Threads:
        ``wake`` is one release of a raw lock, so it is safe in a signal handler, where ``threading.Event.set`` could
        deadlock.
    """

    def __init__(self, work: Callable[[bool, bool], bool], *, interval_s: float) -> None:
        self._work = work
        self._interval_s = interval_s
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._is_running = True
        self._rounds = 0
        self._is_whole = True  # what the last round came to
        self._waiting = 0
        self._round_done = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="clew-flusher", daemon=True)

    def start(self) -> None:
        """Start the thread. An interpreter that is ending starts none: then callers make their segments themselves.

        Before Python 3.12 that is not refused but waited for in vain.
        """
        if not sys.is_finalizing():
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def wake(self) -> None:
        """Have a round begin now."""
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def stop(self, *, join: bool = True) -> None:
        """Let no further round begin; with *join*, wait for the one under way, two seconds at most."""
        self._is_running = False
        self.wake()
        if join and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=JOIN_S)

    def flush(self, timeout_s: float) -> bool:
        """Wait for a round that began after this call; True when it brought everything to the disk."""
        with self._round_done:
            wanted = self._rounds + 2  # the round under way may have begun before, on a disk that still refused
            deadline = time.monotonic() + timeout_s
            self._waiting += 1
            try:
                while self._rounds < wanted:
                    self.wake()
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return False
                    self._round_done.wait(min(left, 0.01))
            finally:
                self._waiting -= 1
            return self._is_whole

    def _run(self) -> None:
        due = 0.0
        while self._is_running:
            is_woken = self._bell.acquire(timeout=min(self._interval_s, WATCH_S))
            now = time.monotonic()
            is_flush = is_woken or now >= due
            if is_flush:
                due = now + self._interval_s
            try:
                is_whole = self._work(is_flush, self._waiting > 0)
            except (OSError, SpoolError, ValueError, MemoryError):
                is_whole = False  # of the disk, of the machine; ValueError: the maps were closed while we worked
            with self._round_done:
                self._rounds += 1
                self._is_whole = is_whole
                self._round_done.notify_all()

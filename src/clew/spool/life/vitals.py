"""The last known state of a producer, for whoever has to explain its death.

The flusher writes one sample a second into a small memory map: a process that is killed leaves its
last one behind. Sizes are those the kernel counts for the whole process.

Layout of ``vitals`` (little-endian)::

    0           8          16        24         32          40
    ┌───────────┬──────────┬─────────┬──────────┬───────────┬──────────┐
    │ CLEWVITA  │ at_ns    │ rss     │ peak rss │ cpu_ns    │ threads  │
    │ 8         │ u64      │ u64     │ u64      │ u64       │ u64      │
    └───────────┴──────────┴─────────┴──────────┴───────────┴──────────┘
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from clew.spool.files import disk
from clew.spool.files.descriptor import OwnDescriptor
from clew.spool.files.mapping import map_file
from clew.spool.files.regular import NotRegularError, read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VITALS_FILE", "Vitals", "VitalsSample", "read_vitals"]

VITALS_FILE = "vitals"

_MAGIC = b"CLEWVITA"
_open = open  # finalisers emit when the interpreter has taken it out of the builtins
_SAMPLE = struct.Struct("<8sQQQQQ")


class VitalsSample(NamedTuple):
    """One look at a process.

    Attributes:
        at_ns: When, nanoseconds since the Unix epoch.
        rss_bytes: Memory in use.
        peak_rss_bytes: The most it ever was.
        cpu_ns: CPU time used so far.
        threads: Python threads.
    """

    at_ns: int
    rss_bytes: int
    peak_rss_bytes: int
    cpu_ns: int
    threads: int


class Vitals:
    """Write samples of this process.

    Args:
        directory: The producer's directory.

    Attributes:
        file: The file of the samples.
    """

    def __init__(self, directory: Path) -> None:
        self._peak = 0
        self.write_anew(directory)

    def write_anew(self, directory: Path) -> None:
        """Go on in a new file in *directory*.

        Raises:
            OSError: It cannot be made.
        """
        path = directory / VITALS_FILE
        with OwnDescriptor.open(path, os.O_RDWR | os.O_CREAT) as opened:
            opened.use(path, lambda fd: disk.allocate(fd, _SAMPLE.size))
            self._map, self.file = opened.use(path, lambda fd: map_file(fd, _SAMPLE.size)), opened.file
        self.sample()

    def sample(self) -> None:
        """Take a sample now."""
        rss = _resident_bytes()
        self._peak = max(self._peak, rss)
        now, cpu = time.time_ns(), time.process_time_ns()
        self._map[:] = _SAMPLE.pack(_MAGIC, now, rss, self._peak, cpu, threading.active_count())


def read_vitals(directory: Path) -> VitalsSample | None:
    """Read a producer's last sample; None when it never took one."""
    try:
        raw = read_regular(directory / VITALS_FILE)
    except (FileNotFoundError, NotRegularError):
        return None
    if len(raw) < _SAMPLE.size or raw[:8] != _MAGIC:
        return None
    return VitalsSample(*_SAMPLE.unpack_from(raw)[1:])


def _resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the kernel does not say."""
    try:
        with _open("/proc/self/statm", "rb") as file:  # once a second, in the application
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0

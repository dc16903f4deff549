"""What a producer could not accept: counted by reason, in a file that survives it.

The counts live in a page-sized memory map, so that a killed producer's losses are still
known. The reader of the file is the agent.

Layout of ``losses`` (little-endian)::

    0           8        16             520      528
    ┌───────────┬────────┬────────┬─ … ─┬────────┬────────┬─ …
    │ CLEWLOSS  │ u64    │ u64    │     │ u64    │ u64    │
    └───────────┴────────┴────────┴─ … ─┴────────┴────────┴─ …
                 losses by reason, in    what of them an event has
                 the order of REASONS    told of, in the same order
"""

from __future__ import annotations

import mmap
import os
import struct
from itertools import count
from typing import TYPE_CHECKING, Final

from clew.spool import disk
from clew.spool.regular import NotRegularError, read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LOSSES_FILE", "REASONS", "Losses", "read_losses", "read_reported"]

LOSSES_FILE = "losses"
REASONS: Final = ("spool_full", "disk_full", "disk_error", "oversize", "unencodable", "closed", "low_priority")
"""Why an event can be lost before it is on the spool; the order is part of the format, append only."""

_MAGIC = b"CLEWLOSS"
_SLOT = struct.Struct("<Q")
_LOST = 8
_REPORTED = 520


class Losses:
    """Count losses by reason, in memory and on disk.

    Args:
        directory: The producer's directory.

    Threads:
        ``add`` may be called from any thread and re-entrantly: ``next`` on an
        ``itertools.count`` is atomic, and a store out of order is put right by the next one
        or by ``save``.
    """

    def __init__(self, directory: Path) -> None:
        fd = os.open(directory / LOSSES_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            disk.allocate(fd, mmap.PAGESIZE)
            self._map = mmap.mmap(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)
        self._map[:8] = _MAGIC
        self._counters = {reason: count(1) for reason in REASONS}

    def add(self, reason: str) -> int:
        """Count one loss; return how many there are now for this *reason*."""
        total = next(self._counters[reason])
        _SLOT.pack_into(self._map, _LOST + 8 * REASONS.index(reason), total)
        return total

    def totals(self) -> dict[str, int]:
        """Return the losses by reason, without the reasons that never occurred."""
        totals = {reason: _peek(counter) - 1 for reason, counter in self._counters.items()}
        return {reason: total for reason, total in totals.items() if total}

    def note_reported(self, totals: dict[str, int]) -> None:
        """Remember that an event has told of losses up to *totals*."""
        for reason, total in totals.items():
            _SLOT.pack_into(self._map, _REPORTED + 8 * REASONS.index(reason), total)

    def save(self) -> None:
        """Store every count again, which heals a store that came out of order."""
        for reason, total in self.totals().items():
            _SLOT.pack_into(self._map, _LOST + 8 * REASONS.index(reason), total)


def _peek(counter: count[int]) -> int:
    """Tell the next value of *counter* without taking it.

    Only its ``repr`` tells: the pickle form of ``itertools`` warns from Python 3.12 on and is gone in 3.14.
    """
    return int(repr(counter)[len("count(") : -1])


def read_losses(directory: Path) -> dict[str, int]:
    """Read a producer's losses by reason; empty when it has none or never began to count."""
    return _read(directory, _LOST)


def read_reported(directory: Path) -> dict[str, int]:
    """Read which of a producer's losses an event has told of, by reason."""
    return _read(directory, _REPORTED)


def _read(directory: Path, start: int) -> dict[str, int]:
    try:
        raw = read_regular(directory / LOSSES_FILE)
    except (FileNotFoundError, NotRegularError):
        return {}
    if raw[:8] != _MAGIC or len(raw) < _REPORTED + 8 * len(REASONS):
        return {}
    totals = {reason: _SLOT.unpack_from(raw, start + 8 * index)[0] for index, reason in enumerate(REASONS)}
    return {reason: total for reason, total in totals.items() if total}

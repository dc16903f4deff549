"""What a producer could not accept: counted by reason, in a file that survives it.

The counts live in a page-sized memory map, so that a killed producer's losses are still
known. The reader of the file is the agent.

Layout of ``losses`` (little-endian)::

    0           8        16             520      528
    ┌───────────┬────────┬────────┬─ … ─┬────────┬────────┬─ …
    │ CLEWLOSS  │ u64    │ u64    │     │ u64    │ u64    │
    └───────────┴────────┴────────┴─ … ─┴────────┴────────┴─ …
                 losses by reason, in    what of them an event has
                 the order of REASONS    reported, in the same order
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from itertools import count
from typing import TYPE_CHECKING, Final

from clew.spool.files import disk
from clew.spool.files.descriptor import FileId, OwnDescriptor
from clew.spool.files.mapping import map_file
from clew.spool.files.regular import NotRegularError, read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LOSSES_FILE",
    "REASONS",
    "LossCounts",
    "Losses",
    "note_reported",
    "read_losses",
    "read_reported",
    "reason_of",
]

LOSSES_FILE = "losses"
REASONS: Final = (
    "spool_full",
    "disk_full",
    "disk_error",
    "oversize",
    "unencodable",
    "closed",
    "low_priority",
    "no_inodes",
    "too_many_files",
    "no_memory",
    "permission",
    "removed",
    "not_open",
)
"""Why an event can be lost before it is on the spool; the order is part of the format, append only."""

_REASONS_BY_ERRNO: Final = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EMFILE: "too_many_files",
    errno.ENFILE: "too_many_files",
    errno.ENOMEM: "no_memory",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
    errno.ENOENT: "removed",
    errno.ENOTDIR: "removed",
}
_MAGIC = b"CLEWLOSS"
_SLOT = struct.Struct("<Q")
_LOST = 8
_REPORTED = 520


class LossCounts:
    """Count losses by reason, in memory.

    Threads:
        ``add`` may be called from any thread and re-entrantly: ``next`` on an ``itertools.count`` is atomic.
    """

    def __init__(self) -> None:
        self._counters = {reason: count(1) for reason in REASONS}

    def add(self, reason: str) -> int:
        """Count one loss; return how many there are now for this *reason*."""
        return next(self._counters[reason])

    def totals(self) -> dict[str, int]:
        """Return the losses by reason, without the reasons that never occurred."""
        totals = {reason: _peek(counter) - 1 for reason, counter in self._counters.items()}
        return {reason: total for reason, total in totals.items() if total}


class Losses(LossCounts):
    """Count losses by reason, in memory and on disk.

    Args:
        directory: The producer's directory.

    Attributes:
        file: The file of the counts.

    Raises:
        OSError: The file cannot be made.

    Threads:
        ``add`` as in ``LossCounts``; a store out of order is put right by the next one or by ``save``. The rest is for one
        thread.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._carried: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._map, self.file = _map_counts(directory)

    def add(self, reason: str) -> int:
        """Count one loss; return how many there are now for this *reason*."""
        total = super().add(reason) + self._carried.get(reason, 0)
        _SLOT.pack_into(self._map, _LOST + 8 * REASONS.index(reason), total)
        return total

    def carry(self, lost: dict[str, int]) -> None:
        """Count what was lost elsewhere: before there was this file, or with what it could not save."""
        for reason, number in lost.items():
            self._carried[reason] = self._carried.get(reason, 0) + number
        self.save()

    def totals(self) -> dict[str, int]:
        """Return the losses by reason, without the reasons that never occurred."""
        totals, carried = super().totals(), self._carried
        return {
            reason: totals.get(reason, 0) + carried.get(reason, 0)
            for reason in REASONS
            if reason in totals or reason in carried
        }

    def unreported(self, totals: dict[str, int]) -> dict[str, int]:
        """Return how many of the losses up to *totals* no event has reported yet, by reason."""
        new = {reason: total - self._reported.get(reason, 0) for reason, total in totals.items()}
        return {reason: number for reason, number in new.items() if number}

    def note_reported(self, totals: dict[str, int]) -> None:
        """Remember that an event has reported losses up to *totals*."""
        self._reported = totals
        for reason, total in totals.items():
            _SLOT.pack_into(self._map, _REPORTED + 8 * REASONS.index(reason), total)

    def save(self) -> None:
        """Store every count again, which heals a store that came out of order."""
        for reason, total in self.totals().items():
            _SLOT.pack_into(self._map, _LOST + 8 * REASONS.index(reason), total)

    def write_anew(self, directory: Path) -> None:
        """Go on in a new file in *directory*: the old one was removed.

        Raises:
            OSError: It cannot be made.
        """
        self._map, self.file = _map_counts(directory)
        self.save()
        self.note_reported(self._reported)


def reason_of(error: BaseException) -> str:
    """Return under which reason a loss is counted that *error* has caused."""
    if isinstance(error, MemoryError):
        return "no_memory"
    if not isinstance(error, OSError):
        return str(getattr(error, "reason", "unencodable"))
    if error.errno == errno.ENOSPC and not _has_inodes(error.filename):
        return "no_inodes"
    return _REASONS_BY_ERRNO.get(error.errno or 0, "disk_error")


def _has_inodes(path: object) -> bool:
    """Whether the file system of a *path* that could not be made has inodes left; some do not count them."""
    if not isinstance(path, str | os.PathLike):
        return True
    try:
        status = os.statvfs(os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120 - as the error has it
    except OSError:
        return True
    return status.f_files == 0 or status.f_favail > 0


def _map_counts(directory: Path) -> tuple[mmap.mmap, FileId]:
    path = directory / LOSSES_FILE
    with OwnDescriptor.open(path, os.O_RDWR | os.O_CREAT) as opened:
        opened.use(path, lambda fd: disk.allocate(fd, mmap.PAGESIZE))
        counts = opened.use(path, lambda fd: map_file(fd, mmap.PAGESIZE))
    counts[:8] = _MAGIC
    return counts, opened.file


def _peek(counter: count[int]) -> int:
    """Return the next value of *counter* without taking it.

    Only its ``repr`` shows it: the pickle form of ``itertools`` warns from Python 3.12 on and is gone in 3.14.
    """
    return int(repr(counter)[len("count(") : -1])


def read_losses(directory: Path) -> dict[str, int]:
    """Read a producer's losses by reason; empty when it has none or never began to count."""
    return _read(directory, _LOST)


def read_reported(directory: Path) -> dict[str, int]:
    """Read which of a producer's losses an event has reported, by reason."""
    return _read(directory, _REPORTED)


def note_reported(directory: Path, totals: dict[str, int]) -> None:
    """Remember, in the place of a dead producer, that an event has reported its losses up to *totals*.

    Raises:
        OSError: The disk refused.
    """
    fd = os.open(directory / LOSSES_FILE, os.O_RDWR | os.O_CLOEXEC)
    try:
        for reason, total in totals.items():
            os.pwrite(fd, _SLOT.pack(total), _REPORTED + 8 * REASONS.index(reason))
    finally:
        os.close(fd)


def _read(directory: Path, start: int) -> dict[str, int]:
    try:
        raw = read_regular(directory / LOSSES_FILE)
    except (FileNotFoundError, NotRegularError):
        return {}
    if raw[:8] != _MAGIC or len(raw) < _REPORTED + 8 * len(REASONS):
        return {}
    totals = {reason: _SLOT.unpack_from(raw, start + 8 * index)[0] for index, reason in enumerate(REASONS)}
    return {reason: total for reason, total in totals.items() if total}

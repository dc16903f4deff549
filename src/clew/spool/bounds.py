"""How much room a spool may take, and which events go first when it fills up.

======== ============================================ ===========================================
priority what                                         dropped
======== ============================================ ===========================================
0        errors, warnings, losses, markers            only when nothing more can be written
1        requests (root spans), evaluation            only when nothing more can be written
2        other spans and logs                         from 95 % of the bound on
3        debug                                        from 80 % of the bound on
======== ============================================ ===========================================
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from clew.errors import SpoolError, SpoolFullError
from clew.spool.directory import list_entries, producer_directories
from clew.spool.files import disk
from clew.spool.kept import give_way, kept_segments
from clew.spool.losses import reason_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Bounds", "spool_bytes"]

REFUSAL_HOLDS_S = 1.0

FILL_LEVELS = ((0.95, 1), (0.80, 2), (0.0, 3))
"""(share of the bound that is used, last priority that is still accepted), fullest first."""


class Bounds:
    """How much room the whole spool may take on this host.

    Args:
        spool: Root of the spool; the segments of all its producers count.
        max_bytes: Upper bound of their sum.
        keep_free_bytes: Free space to leave on the file system.
    """

    def __init__(self, spool: Path, *, max_bytes: int, keep_free_bytes: int) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._keep_free_bytes = keep_free_bytes
        self._refusal: SpoolError | None = None
        self._refused_until = 0.0

    def check(self, wanted_bytes: int) -> None:
        """Make sure that *wanted_bytes* more may be used.

        A refusal holds for a second, so that callers who meet it do not each walk the spool.

        Raises:
            SpoolFullError: They may not.
            SpoolError: The spool cannot be looked at.
        """
        now = time.monotonic()
        if self._refusal is not None and now < self._refused_until:
            raise self._refusal
        self._refusal = self._refuse(wanted_bytes)
        if self._refusal is not None:
            self._refused_until = now + REFUSAL_HOLDS_S
            raise self._refusal

    def lowest_priority(self) -> int:
        """Return the last priority to accept, given how full the spool is."""
        used = spool_bytes(self._spool) / self._max_bytes
        return next(priority for level, priority in FILL_LEVELS if used >= level)

    def _refuse(self, wanted_bytes: int) -> SpoolError | None:
        used = spool_bytes(self._spool)
        try:
            free = self._free_bytes()
            kept = sum(segment.size_bytes for segment in kept_segments(self._spool))
            exceeding = max(used + kept + wanted_bytes - self._max_bytes, self._keep_free_bytes + wanted_bytes - free)
            if kept and exceeding > 0 and used + wanted_bytes <= self._max_bytes:
                give_way(
                    self._spool, exceeding
                )  # what every sink has is kept only as long as nothing else needs the room
                free = self._free_bytes()
        except OSError as error:
            message = f"cannot look at the spool {self._spool}: {error.strerror or error}"
            return SpoolError(message, reason=reason_of(error))
        if free - wanted_bytes < self._keep_free_bytes:
            message = f"only {free} bytes are free below {self._spool}, and {self._keep_free_bytes} are to be kept free"
            return SpoolFullError(message, reason="disk_full")
        if used + wanted_bytes > self._max_bytes:
            message = f"the spool {self._spool} holds {used} of at most {self._max_bytes} bytes"
            return SpoolFullError(message, reason="spool_full")
        return None

    def _free_bytes(self) -> int:
        room = os.statvfs(self._spool)
        return room.f_bavail * room.f_frsize


def spool_bytes(spool: Path) -> int:
    """Add up what all segments of all producers take on the disk, in bytes; what cannot be looked at counts nothing."""
    with contextlib.suppress(OSError):
        return sum(map(_segment_bytes, producer_directories(spool)))
    return 0


def _segment_bytes(directory: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for entry in list_entries(directory):
            if entry.name.endswith(".seg"):
                with contextlib.suppress(OSError):
                    total += disk.allocated_bytes(entry.stat())
    return total
